"""The Celery shell round the engine: claim -> generate -> check -> store -> commit."""
