"""Generates the Python and the TypeScript client's types and methods from the API's OpenAPI document."""
