"""Tasks as values and rules: templates, DAG, retry, states."""
