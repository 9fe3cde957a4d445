"""PostgreSQL: connections, schema, statements and the embedded server. The only package that imports psycopg."""
