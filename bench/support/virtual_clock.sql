-- name: make
-- A now() that stands before pg_catalog's in the search path: it shows the time at which the bench set it.
CREATE SCHEMA clock;
CREATE SEQUENCE clock.passed_ms MINVALUE 0 START 0;
CREATE FUNCTION clock.now() RETURNS timestamptz LANGUAGE sql STABLE SECURITY DEFINER
    RETURN timestamptz '2030-01-01 00:00:00+00' + (SELECT last_value FROM clock.passed_ms) * interval '1 millisecond';
GRANT USAGE ON SCHEMA clock TO PUBLIC;

-- name: set
-- Let so many milliseconds have passed.
SELECT setval('clock.passed_ms', %(passed_ms)s);

-- name: remove
-- Postgres shows the real time again. Defaults that were made of the clock go with it.
DROP SCHEMA clock CASCADE;
