"""tuspyserver in FastAPI under uvicorn, as its documentation shows it. No hash, no fsync."""

import sys

import uvicorn
from fastapi import FastAPI
from tuspyserver import create_tus_router

FOLDER, PORT = sys.argv[1], int(sys.argv[2])

app = FastAPI()
app.include_router(create_tus_router(prefix="files", files_dir=FOLDER))
uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning")
