"""The interface between a pipeline and the job that runs it.

`context.RunContext` is what a pipeline gets, `engine.VectorEngine` is what computes for vector pipelines, and
`watch.Watch` is what both report to. `job_context` and `plan_context` implement the context for runs and plans.
"""
