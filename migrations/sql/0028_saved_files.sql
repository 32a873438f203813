-- The deletion of old files asks which step saved a file: its result names them. Few steps save any.
CREATE INDEX steps_saved ON steps USING gin ((result -> 'provenance' -> 'files'))
WHERE result -> 'provenance' -> 'files' IS NOT NULL;
