"""What scripts use, loaded before the first one: behind the bars no file of a module can be read any more.

A script forks off with all of pandas, the parts of the standard library that shape data, every encoding and
every time zone in its memory, and pays for none of it.
"""

from __future__ import annotations

import encodings
import gc
import pkgutil
from contextlib import suppress
from importlib import import_module
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pandas as pd
import pyarrow as pa

from reporthub_dagster.sandbox import child, frames

_MODULES = """
    _strptime abc array base64 binascii bisect calendar cmath collections.abc colorsys contextlib copy csv
    dataclasses datetime decimal difflib enum fractions functools graphlib hashlib heapq hmac html io
    ipaddress itertools json keyword locale math numbers operator pprint random re secrets statistics
    string struct textwrap time types typing unicodedata urllib.parse uuid warnings zlib zoneinfo
    numpy.char numpy.fft numpy.linalg numpy.ma numpy.polynomial numpy.random numpy.rec numpy.strings
    pyarrow.compute pyarrow.ipc pyarrow.pandas_compat pyarrow.types
"""
_NOT_FOR_USE = ("pandas.tests", "pandas.conftest", "pandas.util.version", "pandas.io.clipboard")


def load() -> tuple[object, ...]:
    """Load everything and use it once; returns what must be kept."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    for name in _names():
        with suppress(ImportError):  # what pandas offers only where another package is installed
            import_module(name)
    # Zones are cached by weak references: a script finds them while somebody holds them.
    zones = tuple(ZoneInfo(name) for name in available_timezones())
    _use()
    gc.collect()
    gc.freeze()
    return (child, *zones)


def _names() -> list[str]:
    of_pandas = [
        module.name
        for module in pkgutil.walk_packages(pd.__path__, "pandas.", onerror=lambda _: None)
        if not module.name.startswith(_NOT_FOR_USE)
    ]
    of_encodings = [f"encodings.{module.name}" for module in pkgutil.iter_modules(encodings.__path__)]
    return [*_MODULES.split(), *of_pandas, *of_encodings]


def _use() -> None:
    """What is slow only the first time."""
    schema = pa.schema([("when", pa.timestamp("us", "UTC")), ("text", pa.utf8()), ("n", pa.int64())])
    frame = frames.frame_of(pa.table([[0], ["a"], [1]], schema=schema))
    used = frame.query("n > 0").eval("m = n + 1").groupby("text", as_index=False).sum(numeric_only=True)
    used.merge(frame[["text"]], on="text").pivot_table(index="text", values="n", aggfunc="sum")
    frame["when"].dt.tz_convert("Europe/Berlin").dt.strftime("%H:%M")
    frame["n"].rolling(1).mean().quantile(0.5)
    pd.to_datetime(frame["text"], format="%Y", errors="coerce")
    np.random.default_rng(0).normal()
    frames.table_of(frame, schema)
