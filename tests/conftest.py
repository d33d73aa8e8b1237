"""What every test starts from: one thread, the same examples each time, and a folder that all processes share."""

import atexit
import os
import shutil
import tempfile

import hypothesis

# Before numpy, torch and onnxruntime are imported: they read it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")
if "WMCTRL_TESTS" not in os.environ:  # of the process that starts the others
    os.environ["WMCTRL_TESTS"] = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, os.environ["WMCTRL_TESTS"], ignore_errors=True)
