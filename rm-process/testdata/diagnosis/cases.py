"""Ways in which a Python process can end, for the tests of rm-process: `cases.py NAME`.

`make.py` keeps what each of them prints; a test runs some of them with the interpreter that is
here now. Nothing in this file is part of the runtime.
"""

import asyncio
import atexit
import builtins
import ctypes
import faulthandler
import logging
import multiprocessing
import os
import resource
import sys
import threading
import traceback
import warnings


def boom(text="a bad item"):
    raise ValueError(text)


# Python 3.10 has no groups; their cases fail there in another way.
Group = getattr(builtins, "ExceptionGroup", None)


class NodeError(Exception):
    pass


def uncaught():
    boom()


def uncaught_without_message():
    raise KeyboardInterrupt


def own_type():
    class Inner(NodeError):
        pass

    raise Inner("nested")


def own_module():
    raise asyncio.QueueEmpty("none left")


def multi_line():
    boom("1 problem:\n  field: missing\n\nConsider passing it.")


def multi_line_statement():
    # fmt: off
    boom(

        "over several"
        + " lines"
    )
    # fmt: on


def notes():
    error = ValueError("with notes")
    error.add_note("first note\nof two lines")
    error.add_note("second note")
    raise error


def syntax_error_imported():
    compile("def (:\n  pass\n", "node.py", "exec")


def recursion():
    def even(n):
        return odd(n + 1)

    def odd(n):
        return even(n + 1)

    sys.setrecursionlimit(200)
    even(0)


def during_handling():
    try:
        boom("first")
    except ValueError:
        {}["second"]


def direct_cause():
    try:
        bytearray(1 << 62)
    except MemoryError as error:
        raise NodeError("cannot load") from error


def remote():
    with multiprocessing.get_context("fork").Pool(1) as pool:
        pool.apply(boom, ["in a pool"])


def group():
    problems = []
    for text in ("one", "two\nlines"):
        try:
            boom(text)
        except ValueError as error:
            problems.append(error)
    raise Group("several nodes failed", problems)


def group_with_cause():
    try:
        boom("first")
    except ValueError as error:
        try:
            boom("inner")
        except ValueError as inner:
            raise Group("outer", [Group("nested", [inner])]) from error


def cause_is_group():
    try:
        raise Group("all", [ValueError("a"), MemoryError()])
    except Group as error:
        raise NodeError("cannot go on") from error


def thread():
    other = threading.Thread(target=boom, name="loader")
    other.start()
    other.join()
    os._exit(3)


def thread_then_uncaught():
    other = threading.Thread(target=boom, args=["in a thread"])
    other.start()
    other.join()
    boom("in the main thread")


def uncaught_then_thread():
    go = threading.Event()

    def late():
        go.wait()
        threading.main_thread().join()
        boom("in a thread")

    threading.Thread(target=late).start()
    go.set()
    boom("in the main thread")


def logged():
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        boom("handled")
    except ValueError:
        logging.exception("item 3 is skipped")
    os._exit(3)


def logged_then_more():
    logging.basicConfig(level=logging.INFO)
    try:
        boom("handled")
    except ValueError:
        logging.exception("item 3 is skipped")
    logging.info("item 4 is fine")
    os._exit(3)


def printed_then_uncaught():
    try:
        boom("handled")
    except ValueError:
        traceback.print_exc()
    boom("not handled")


def printed_then_chatter():
    try:
        boom("handled")
    except ValueError:
        traceback.print_exc()
    for item in range(200):
        print(f"item {item} is fine", file=sys.stderr)
    os._exit(3)


def info_then_uncaught():
    logging.basicConfig(level=logging.INFO)
    logging.info("item 4")
    boom()


def progress_bar_then_uncaught():
    print("\rloading: 40%|####      |", end="", file=sys.stderr)
    boom()


def worker_loop():
    try:
        boom("two\nlines")
    except ValueError as error:
        text = f"failed to process item 3: {type(error).__name__}: {error}"
        print(text, traceback.format_exc(), sep="\n", end="", file=sys.stderr)
    logging.basicConfig(level=logging.INFO)
    logging.info("cleaned up")
    sys.exit(1)


def ignored_then_uncaught():
    class Model:
        def __del__(self):
            boom("in a finaliser")

    Model()
    boom()


def uncaught_then_ignored():
    class Model:
        def __del__(self):
            boom("in a finaliser")

    sys.model = Model()
    atexit.register(boom, "at exit")
    boom()


def uncaught_then_warnings():
    warnings.simplefilter("always")
    from multiprocessing import shared_memory

    shared_memory.SharedMemory(create=True, size=16, name=f"rm-case-{os.getpid()}")
    sys.file = open(os.devnull)
    boom()


def uncaught_then_task():
    async def fail():
        boom("in a task")

    async def main():
        asyncio.current_task().other = asyncio.create_task(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        boom("in the main task")

    asyncio.run(main())


def bad_excepthook():
    sys.excepthook = lambda *_: boom("in the hook")
    boom("the original")


def exits_after_logging():
    try:
        boom("handled")
    except ValueError:
        logging.exception("giving up")
    sys.exit(1)


def exits():
    print("nothing to say", file=sys.stderr)
    sys.exit("the model is missing")


def memory():
    resource.setrlimit(resource.RLIMIT_DATA, (256 << 20, 256 << 20))
    bytearray(1 << 30)


def memory_of_numpy():
    import numpy

    numpy.zeros(1 << 58)


def memory_of_torch():
    # As torch prints it where a graphics card has no memory left.
    kind = type("OutOfMemoryError", (RuntimeError,), {"__module__": "torch"})
    raise kind("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of 8 GiB.")


def open_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    kept = []
    while True:
        kept.append(open(os.devnull))


def segfault():
    ctypes.string_at(0)


def segfault_with_threads():
    started = threading.Barrier(3)

    def wait():
        started.wait()
        threading.Event().wait()

    for name in ("reader", "writer"):
        threading.Thread(target=wait, name=name, daemon=True).start()
    started.wait()
    ctypes.string_at(0)


def segfault_in_a_bare_thread():
    libc = ctypes.CDLL(None)
    thread = ctypes.c_ulong()
    start = ctypes.cast(libc.puts, ctypes.c_void_p)
    libc.pthread_create(ctypes.byref(thread), None, start, None)
    threading.Event().wait()


def segfault_of_a_child():
    child = multiprocessing.get_context("fork").Process(target=segfault)
    child.start()
    child.join()
    print("a child is gone", file=sys.stderr)
    os._exit(3)


def abort():
    os.abort()


def uncaught_then_abort():
    atexit.register(os.abort)
    boom()


def bus_error():
    os.kill(os.getpid(), 7)


def arithmetic():
    os.kill(os.getpid(), 8)


def illegal():
    os.kill(os.getpid(), 4)


def fatal_of_the_interpreter():
    ctypes.pythonapi.Py_FatalError(b"the interpreter is lost")


def fatal_after_an_exception():
    # Tells the interpreter that the exception which is being raised is lost for good.
    try:
        boom("on the way")
    finally:
        ctypes.pythonapi.Py_FatalError(b"lost on the way")


def bad_alloc():
    # What C++ code without a handler does: the C++ library's own function is called.
    library = ctypes.CDLL("libstdc++.so.6")
    library._ZSt17__throw_bad_allocv()


def stack_overflow():
    faulthandler._stack_overflow()


def timeout():
    faulthandler.dump_traceback_later(0.05, exit=True)
    threading.Event().wait()


def dump_and_go_on():
    faulthandler.dump_traceback(all_threads=True)
    print("still here", file=sys.stderr)
    os._exit(3)


def killed():
    print("working on item 3", file=sys.stderr)
    os.kill(os.getpid(), 9)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    globals()[sys.argv[1]]()
