"""The pipeline of intents for vector files: chooses by the files, and reads tables with coordinates as vector files."""
