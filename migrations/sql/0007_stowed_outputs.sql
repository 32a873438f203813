-- Index of steps whose output is stored as a file; retention checks it before it deletes a file.
CREATE INDEX steps_stowed ON steps ((result ->> 'artifact')) WHERE result ->> 'artifact' IS NOT NULL;
