-- Which file holds a step's output: retention asks for it before it deletes a file.
CREATE INDEX steps_stowed ON steps ((result ->> 'artifact')) WHERE result ->> 'artifact' IS NOT NULL;
