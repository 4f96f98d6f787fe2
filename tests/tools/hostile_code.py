"""Programs that try to get out of a sandbox, or to use more than they may."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Bait:
    """What a program is after: none of it may be reached. `secret` is in the file and in the environment."""

    secret: str
    file: Path
    variable: str
    port: int
    pid: int
    made: Path


BOUNDED = {
    "an endless loop": "while True:\n    pass",
    "an endless loop that catches everything": (
        "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass"
    ),
    "a growing list": "x = []\nwhile True:\n    x.append('a' * 100000)",
    "a huge list": "[0] * 10**9",
    "a huge power": "9**9**9",
    "a huge text": "'a' * 10**10",
    "a squared number": "x = 12345\nwhile True:\n    x = x * x",
    "a flood of output": "while True:\n    print('a' * 1000)",
    "a silent flood": "while True:\n    print('', end='')",
    "deep recursion": "def f(n):\n    return f(n + 1)\nf(0)",
    "recursion over repr": "class A:\n    def __repr__(self):\n        return repr(self)\nA()",
    "deep brackets": "(" * 5000 + ")" * 5000,
    "deep minus": "x = " + "-" * 50000 + "1",
    "a long sum": "+".join(["1"] * 30000),
    "a long sleep": "import time\ntime.sleep(100)",
    "many sleeps": "import asyncio\nasync def f():\n    await asyncio.sleep(50)\nfor _ in range(10000):\n    await f()",
    "a slow pattern": "import re\nre.match(r'(a+)+$', 'a' * 40 + 'b')",
    "a growing pattern": "import re\nre.compile('(' * 2000 + 'a' + ')' * 2000 + '{1000}{1000}')",
    "a list in itself": "x = []\nx.append(x)\nx",
    "a deep list": "x = []\nfor _ in range(100000):\n    x = [x]\nx",
    "many texts of JSON": "import json\njson.loads('[' * 100000)",
    "a wide format": "'{:>9999999999}'.format(1)",
    "a wide f-string": "f'{1:>9999999999}'",
    "long digits": "int('9' * 10**7)",
    "a huge shift": "1 << 10**11",
    "a huge range": "sum(range(10**15))",
    "a big set": "set(range(10**9))",
    "a sorted flood": "sorted(range(10**8), key=lambda x: -x)",
    "doubling": "x = 'ab'\nwhile True:\n    x += x",
    "a join": "''.join(['a' * 10**6] * 10**6)",
    "replacing": "'a' * 10**4\nx = 'a' * 10**4\nfor _ in range(10):\n    x = x.replace('a', 'a' * 10**4)",
    "a bytes flood": "bytes(10**10)",
    "a decimal": "from decimal import Decimal\nDecimal(10) ** 10**9",
    "an error of a megabyte": "raise ValueError('a' * 10**6)",
}
"""Programs that use too much, by what they do."""

_READ = (
    "open({file!r}).read()",
    "open({file!r}, 'rb').read()",
    "from pathlib import Path\nPath({file!r}).read_text()",
    "import io\nio.open({file!r}).read()",
    "import os\nos.popen('cat {file}').read()",
    "import os\nos.listdir({folder!r})",
    "with open({file!r}) as f:\n    f.read()",
    "[line for line in open({file!r})]",
    "import os\nos.open({file!r}, 0)",
    "import os\nos.chdir({folder!r})\nopen('secret.txt').read()",
    "open('/' + '../' * 9 + {file!r}).read()",
    "open('/proc/self/root' + {file!r}).read()",
    "open('/proc/self/environ').read()",
    "open('/proc/{pid}/environ').read()",
    "open('/proc/{pid}/cmdline').read()",
    "import os\nos.environ[{variable!r}]",
    "import os\nos.getenv({variable!r})",
    "import os\nos.environb",
    "import sys\nsys.modules['os'].environ",
    "import shutil\nshutil.copy({file!r}, {made!r})",
    "import mmap, os\nmmap.mmap(os.open({file!r}, 0), 0)",
    "import fileinput\nlist(fileinput.input([{file!r}]))",
    "import linecache\nlinecache.getlines({file!r})",
    "import tarfile\ntarfile.open({file!r})",
    "import sqlite3\nsqlite3.connect({file!r})",
)
_WRITE = (
    "open({made!r}, 'w').write('x')",
    "from pathlib import Path\nPath({made!r}).write_text('x')",
    "import os\nos.mkdir({made!r})",
    "import tempfile\ntempfile.mkstemp()",
    "import os\nos.symlink({file!r}, {made!r})",
    "import os\nos.rename({file!r}, {made!r})",
    "import os\nos.remove({file!r})",
    "import shutil\nshutil.rmtree({folder!r})",
    "import os\nos.mkfifo({made!r})",
)
_CONNECT = (
    "import socket\nsocket.create_connection(('127.0.0.1', {port}))",
    "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:{port}/')",
    "import http.client\nhttp.client.HTTPConnection('127.0.0.1', {port}).request('GET', '/')",
    "import asyncio\nawait asyncio.open_connection('127.0.0.1', {port})",
    "import requests\nrequests.get('http://127.0.0.1:{port}/')",
    "import _socket\n_socket.socket().connect(('127.0.0.1', {port}))",
    "import ssl, socket\nssl.wrap_socket(socket.socket())",
    "import ftplib\nftplib.FTP('127.0.0.1:{port}')",
)
_PROCESSES = (
    "import subprocess\nsubprocess.check_output(['cat', {file!r}])",
    "import os\nos.system('touch {made}')",
    "import os\nos.kill({pid}, 9)",
    "import os, signal\nos.kill(os.getppid(), signal.SIGTERM)",
    "import os\nos.fork()",
    "import os\nos.execv('/bin/sh', ['sh', '-c', 'touch {made}'])",
    "import os\nos.posix_spawn('/usr/bin/touch', ['touch', {made!r}], {{}})",
    "import pty\npty.spawn('/bin/sh')",
    "import multiprocessing\nmultiprocessing.Process(target=print).start()",
    "import threading\nthreading.Thread(target=print).start()",
    "import ctypes\nctypes.CDLL(None).system(b'touch {made}')",
    "import signal\nsignal.raise_signal(9)",
    "import faulthandler\nfaulthandler._sigsegv()",
    "import gc\ngc.get_objects()",
    "import inspect\ninspect.currentframe().f_back.f_globals",
    "import sys\nsys._getframe(0).f_builtins",
    "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (-1, -1))",
)
_WALKS = (
    "().__class__.__base__.__subclasses__()",
    "''.__class__.__mro__[1].__subclasses__()",
    "(lambda: 0).__globals__",
    "(lambda: 0).__code__.co_consts",
    "print.__self__.__import__('os').environ",
    "'{{0.__class__.__base__}}'.format(1)",
    "getattr(getattr(1, '__cl' + 'ass__'), '__ba' + 'se__')",
    "__builtins__['__import__']('os').environ",
    "__loader__.load_module('os').environ",
    "type('X', (), {{}})().__reduce_ex__(4)",
    "__import__('os').environ[{variable!r}]",
    "import builtins\nbuiltins.open({file!r}).read()",
    "import importlib\nimportlib.import_module('os').environ",
    "import pickle\npickle.loads(b\"cos\\nsystem\\n(S'touch {made}'\\ntR.\")",
    "import marshal, types\ntypes.FunctionType(marshal.loads(b''), {{}})()",
    "import code\ncode.interact()",
)
_ATTEMPTS = (*_READ, *_WRITE, *_CONNECT, *_PROCESSES, *_WALKS)


def generated(bait: Bait, count: int, seed: int = 0) -> Iterator[str]:
    """As many programs, each attempt in a disguise: every attempt at least once where there are enough of them."""
    chance = random.Random(seed)
    values = {
        "file": str(bait.file),
        "folder": str(bait.file.parent),
        "variable": bait.variable,
        "port": bait.port,
        "pid": bait.pid,
        "made": str(bait.made),
    }
    for number in range(count):
        attempt = _ATTEMPTS[number % len(_ATTEMPTS)].format(**values)
        yield chance.choice(_DISGUISES)(attempt, chance)


def _as_it_is(code: str, _chance: random.Random) -> str:
    return code


def _in_function(code: str, _chance: random.Random) -> str:
    return "def f():\n    " + code.replace("\n", "\n    ") + "\nf()" if "await" not in code else code


def _swallowed(code: str, _chance: random.Random) -> str:
    indented = code.replace("\n", "\n    ")
    return f"try:\n    {indented}\nexcept BaseException as error:\n    print(repr(error)[:200])"


def _executed(code: str, _chance: random.Random) -> str:
    return f"exec({code!r})"


def _joined(code: str, chance: random.Random) -> str:
    cut = chance.randrange(len(code))
    return f"exec({code[:cut]!r} + {code[cut:]!r})"


def _spelt(code: str, _chance: random.Random) -> str:
    return f"exec(''.join(chr(each) for each in {[ord(sign) for sign in code]}))"


def _many_times(code: str, _chance: random.Random) -> str:
    indented = code.replace("\n", "\n        ")
    return f"for _ in range(50):\n    try:\n        {indented}\n    except Exception:\n        pass"


_DISGUISES = (_as_it_is, _in_function, _swallowed, _executed, _joined, _spelt, _many_times)
