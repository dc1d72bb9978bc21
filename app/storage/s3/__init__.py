"""The object store behind the S3 API, by aioboto3."""
