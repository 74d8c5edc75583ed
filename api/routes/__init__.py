"""One file a noun; each holds an APIRouter that `api.app` includes."""
