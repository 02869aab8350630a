"""The processor told which memory a loop will need some turns later: it waits for none of it then.

Compiled loops that go through arrays in another order than they lie in spend most of their time waiting.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(_: Any, address: Any) -> Any:  # noqa: ARG001 - its name is for the compiler
    """Bring the cache line at this address (an integer, of the program's own memory) near; to be called when compiled.

    Source: LLVM language reference, llvm.prefetch.
    """

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        number, pointer = cgutils.int32_t, cgutils.voidptr_t
        function = builder.module.declare_intrinsic(
            "llvm.prefetch",
            [pointer],
            cgutils.ir.FunctionType(cgutils.ir.VoidType(), [pointer, number, number, number]),
        )
        to_read, keep, data = number(0), number(3), number(1)
        builder.call(function, [builder.inttoptr(arguments[0], pointer), to_read, keep, data])
        return context.get_dummy_value()

    return types.void(types.intp), generate
