# SPDX-License-Identifier: GPL-2.0
"""For the scripts in Python."""
import importlib.machinery
import importlib.util
import os
import sys


def load(name):
    """The script of that name as a module: its file has no suffix, so that import does not find it."""
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), os.path.join(os.path.dirname(os.path.realpath(__file__)), name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module
