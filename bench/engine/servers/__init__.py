"""One module a way of serving: each is a program that answers `POST` with a PNG, on the port in BENCH_PORT."""
