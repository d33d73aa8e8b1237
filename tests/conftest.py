"""What every test starts from: one thread, and the same examples each time."""

import os

import hypothesis

# Before numpy, torch and onnxruntime are imported: they read it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")
