"""Real servers for the tests: private ones on free ports, or those that environment variables name.

Each module starts one kind of server once per test process, and says as a skip reason what is missing when it cannot.
"""
