"""Clean runs: random models, weights and inputs on which the judge must find nothing (``nox -s clean_runs``)."""
