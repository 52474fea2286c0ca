"""How a convolution is cut up: the choice of tile, the tables that the kernels read, the memory that they need.

`Correlation` computes out[o, q] = bias[o] + sum over planes and taps of w[o, plane, tap] * in[plane, q * stride +
shift] along three spatial axes, which is what a convolution is, and also its gradient with respect to the input (the
parts of it that have one remainder modulo the stride). It knows sizes only; addresses come with each run.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any, NamedTuple

from facula.kernel.language import Kernel, f32, f64, host
from facula.ops.kernels import conv_tiles
from facula.ops.kernels.conv_tiles import POSITION, Field
from facula.runtime import launch, memory, threads

TYPES = {"f32": f32, "f64": f64}
TARGET_WORK = 1 << 20  # multiply-adds of one item of work: some 20 microseconds
MOST_ITEMS = 32  # an operation is cut into this many items if it is large enough
_CACHE = 384 << 10  # bytes of input that an item may spread out: a share of the second-level cache
_DEPTH = 384  # rows (planes x taps) of a packed panel


class Axis(NamedTuple):
    """One spatial axis: input size, number of outputs, input step between outputs, (shift, weight index) of each tap,
    and where the outputs are written: first, step, and the size of the output along this axis.
    """

    size: int
    outputs: int
    stride: int
    taps: tuple[tuple[int, int], ...]
    start: int
    step: int
    total: int


class Tiling(NamedTuple):
    """A choice of code. `over` says along what a vector of `lanes` runs: with "positions" a tile is `height` outputs by
    `vectors` vectors; with "channels" it is `height` positions by `vectors` vectors of outputs. `reading` is how the
    input is read: in place ("bare"), from a padded copy ("padded"), or from panels made from that copy ("packed").
    """

    lanes: int
    height: int
    vectors: int
    reading: str
    over: str = "positions"

    @property
    def block(self) -> int:
        """Output channels of a tile."""
        return self.height if self.over == "positions" else self.vectors * self.lanes


class Runs(NamedTuple):
    """Where an output's weights lie: `count` runs, `step` apart, whose numbers are the k in `rows` (-1: unused), plus
    `used` for each run before.
    """

    count: int
    step: int
    used: int
    rows: list[int]


class Cut(NamedTuple):
    """How the outputs are shared out: rows and blocks of channels of one item of work, and its planes at a time."""

    rows: int
    blocks: int
    chunk: int


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def numbers(values: list[int]) -> Any:
    """Native memory with 64-bit integers."""
    return (ctypes.c_int64 * len(values))(*values)


@functools.cache
def tile_shapes() -> tuple[tuple[int, int], ...]:
    """(height, vectors) whose accumulators and operands fit the registers of this machine, the largest of each height
    and those half as large.
    """
    registers = host().registers
    found = []
    for height in (1, 2, 3, 4, 6, 8, 12):
        for vectors in (1, 2, 3, 4, 6, 8):
            if height * vectors + vectors + 1 <= registers and height * vectors >= min(registers // 4, height * 4):
                found.append((height, vectors))
    return tuple(found)


def cost_of_tile(height: int, vectors: int, width: float) -> float:
    """Cycles that a tile takes for each k: arithmetic, loads or latency, whichever is the bottleneck. `width`: how long
    a vector keeps the multiplier busy.
    """
    return max(height * vectors * width, height * 0.5 + vectors * width * 1.5, 4.0) + 0.5


class Correlation:
    """A plan. `run` computes it for given addresses."""

    def __init__(
        self, dtype: str, images: int, groups: int, planes: int, channels: int, axes: tuple[Axis, Axis, Axis],
        weight_strides: tuple[int, int], weight_sizes: tuple[int, ...], tiling: Tiling | None = None,
    ) -> None:  # fmt: skip
        """`planes` inputs and `channels` outputs of each group; the weights' strides over (outputs, planes), and their
        sizes along the three axes.
        """
        self.dtype, self.images, self.groups = TYPES[dtype], images, groups
        self.planes, self.channels, self.axes = planes, channels, axes
        self.weight_strides, (self.weight_deep, *self.weight_sizes) = weight_strides, weight_sizes
        depth, rows, columns = axes
        self.taps = [(h, w) for h in rows.taps for w in columns.taps]
        self.k = planes * len(depth.taps) * len(self.taps)
        self.work = images * groups * channels * depth.outputs * rows.outputs * columns.outputs * max(1, self.k)
        self.firsts = [min((shift for shift, _ in axis.taps), default=0) for axis in (rows, columns)]
        self.spans = [
            max((shift for shift, _ in axis.taps), default=0) - first
            for axis, first in zip((rows, columns), self.firsts, strict=True)
        ]
        self.layers = images * groups * depth.outputs
        self.tiling = tiling or self._choose()
        self.cut = self._cut(self.tiling)[1]
        self._lay_out()

    # -- choice -----------------------------------------------------------------------------------------------------
    def _choose(self) -> Tiling:
        """The tiling that the estimates prefer: a rough one for all, a closer one for the best of them."""
        rough = sorted(self.tilings(), key=lambda tiling: self.cost(tiling, self.axes[1].outputs, 1))
        return min(rough[:6], key=lambda tiling: self._cut(tiling)[0])

    def tilings(self) -> list[Tiling]:
        """All that could compute this."""
        item, outputs = self.dtype.itemsize, self.axes[2].outputs
        widest = host().lanes(item)
        every_lanes = [widest, widest // 2] if host().vector_bits == 512 else [widest]
        readings = ["padded"]
        if self.can_read_in_place():
            readings.append("bare")
        unit_steps = self.axes[2].step == 1 and self.axes[1].step == 1
        found = []
        for lanes in every_lanes:
            for reading in readings + (["packed"] if unit_steps and self.k else []):
                if reading == "bare" and outputs < lanes:
                    continue
                found += [Tiling(lanes, height, vectors, reading) for height, vectors in tile_shapes()]
            if self.channels * 2 >= lanes:
                for vectors in (1, 2, 3, 4):
                    if vectors > ceil_div(self.channels, lanes):
                        break
                    most = min((host().registers - vectors - 1) // vectors, 14)
                    height = ceil_div(outputs, ceil_div(outputs, most)) if outputs else 1
                    found += [Tiling(lanes, height, vectors, reading, "channels") for reading in readings]
        return found

    def can_read_in_place(self) -> bool:
        """Whether every tap of every output lies inside the input, and neighbours lie side by side."""
        depth, rows, columns = self.axes
        if len(depth.taps) != 1 or depth.size != 1 or depth.outputs != 1 or depth.taps[0][0] != 0:
            return False
        for axis in (rows, columns):
            shifts = [shift for shift, _ in axis.taps]
            if not shifts or min(shifts) < 0 or (axis.outputs - 1) * axis.stride + max(shifts) >= axis.size:
                return False
        return columns.stride == 1 and columns.step == 1 and rows.step == 1

    def cost(self, tiling: Tiling, rows: int, channel_tiles: int) -> float:
        """An estimate, in cycles, of one image's group with so many rows to an item and cuts of the channels."""
        lanes, height, vectors, reading, over = tiling
        width = lanes * self.dtype.itemsize / 64
        depth, _, columns = self.axes
        positions = rows * columns.outputs
        blocks = ceil_div(self.channels, tiling.block)
        tile = cost_of_tile(height, vectors, width)
        if over == "channels":
            steps = rows * ceil_div(columns.outputs, height)
            finish = 20 + vectors * (lanes * 4 + 2 * height + lanes * 2 * (1 if columns.step == 1 else height))
        else:
            if reading == "packed":
                steps = ceil_div(positions, lanes * vectors)
            else:
                steps = ceil_div(rows * ceil_div(columns.outputs, lanes), vectors)
                if self.k * lanes * vectors * self.dtype.itemsize > 1 << 16:
                    tile *= 1.1  # the rows that one tile reads lie far apart: too many for the first-level cache
            finish = 15 + height * vectors * (2.0 if columns.step == 1 else 1.5 * lanes)
        total = blocks * steps * (tile * self.k + finish)
        weights = self.k * self.channels * self.dtype.itemsize
        total += weights / (64.0 if weights < _CACHE else 12.0)  # read anew for each item
        planes = self.planes * len(depth.taps)
        prepare = 0.0
        if reading != "bare":
            prepare = planes * (rows * self.axes[1].stride + self.spans[0]) * (ceil_div(columns.size, lanes) + 1) * 2.5
        if reading == "packed":
            pieces = positions / lanes + rows * (columns.outputs % lanes != 0)
            prepare += self.k * (pieces * 2.0 + steps * 2)
        return (total + prepare * channel_tiles) * ceil_div(self.axes[1].outputs, max(1, rows))

    def _cut(self, tiling: Tiling) -> tuple[float, Cut]:
        """The cheapest way to make enough items, with what an item reads in the cache."""
        reading, over = tiling.reading, tiling.over
        depth, rows, columns = self.axes
        item, taps = self.dtype.itemsize, max(1, len(self.taps))
        planes = max(1, self.planes * len(depth.taps))
        blocks = ceil_div(self.channels, tiling.block)
        wanted = min(MOST_ITEMS, max(1, self.work // TARGET_WORK))
        row_size = item * min(columns.stride, self.spans[1] + 1) * (columns.outputs + self.spans[1] // columns.stride)
        best = None
        tried = -1
        for row_tiles in (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024):
            per_tile = max(1, ceil_div(rows.outputs, row_tiles))
            if per_tile == tried:
                break
            tried = per_tile
            chunk = planes
            if reading == "packed" or (over == "channels" and planes * taps > 2 * _DEPTH):
                chunk = ceil_div(planes, ceil_div(planes * taps, _DEPTH if reading == "packed" else 2 * _DEPTH))
            in_rows = per_tile * min(rows.stride, self.spans[0] + 1) + self.spans[0]
            size = 0 if reading == "bare" else chunk * in_rows * row_size
            if reading == "packed":
                size += chunk * taps * per_tile * columns.outputs * item
            channel_tiles = min(blocks, ceil_div(wanted, self.layers * ceil_div(rows.outputs, per_tile) or 1))
            cost = self.cost(tiling, per_tile, channel_tiles) * (1 + max(0.0, size / _CACHE - 1) * 0.1)
            if best is None or cost < best[0]:
                best = cost, Cut(per_tile, ceil_div(blocks, channel_tiles), chunk)
        assert best is not None
        return best

    # -- tables -----------------------------------------------------------------------------------------------------
    def _lay_out(self) -> None:
        lanes, _, vectors, reading, over = self.tiling
        depth, rows, columns = self.axes
        item = self.dtype.itemsize
        planes = self.planes * len(depth.taps)
        top, left = self.firsts
        span_h, span_w = self.spans
        phases_h, phases_w = min(rows.stride, span_h + 1), min(columns.stride, span_w + 1)
        phase_columns = columns.outputs + span_w // columns.stride
        taps = len(self.taps)
        per_tile, tile_blocks, chunk = self.cut
        row_tiles = ceil_div(rows.outputs, per_tile)
        last_rows = rows.outputs - (row_tiles - 1) * per_tile
        blocks = ceil_div(self.channels, self.tiling.block)
        channel_tiles = ceil_div(blocks, tile_blocks)
        self.packed_count = self.groups * blocks
        self.packed_bytes = self.packed_count * self.k * self.tiling.block * item + 63 & ~63

        phase_rows = per_tile + span_h // rows.stride
        phase = phase_rows * phase_columns + lanes  # what is copied overruns by less than a vector
        plane = phases_h * phases_w * phase
        row_step = columns.size * rows.stride if reading == "bare" else phase_columns
        shifts = []
        for c in range(chunk):
            for (shift_h, _), (shift_w, _) in self.taps:
                h, w = shift_h - top, shift_w - left
                if reading == "bare":
                    shifts.append(c * columns.size * rows.size * depth.size + h * columns.size + w)
                else:
                    remainder = (h % rows.stride) * phases_w + w % columns.stride
                    inner = (h // rows.stride) * phase_columns + w // columns.stride
                    shifts.append(c * plane + remainder * phase + inner)
        out_row = columns.total * rows.step
        panel = chunk * taps * lanes * vectors + lanes
        positions = [self._positions(count, row_step, out_row, panel) for count in (per_tile, last_rows)]
        per_step = POSITION * (vectors if over == "positions" else 1)
        steps = [len(p) // per_step for p in positions]
        copies: list[list[int]] = [[], []]
        if reading == "packed":
            copies = [self._copies(count, row_step) for count in (per_tile, last_rows)]

        buffer_size = 0 if reading == "bare" else chunk * plane + 2 * lanes
        panels_size = steps[0] * panel + lanes if reading == "packed" else 0
        buffer_size, panels_size = (size + 15 & ~15 for size in (buffer_size, panels_size))
        volume = depth.total * rows.total * columns.total
        in_volume = depth.size * rows.size * columns.size
        output_stride, plane_stride = self.weight_strides
        run = self._weight_runs()
        values = {
            "groups": self.groups, "row_tiles": row_tiles, "channel_tiles": channel_tiles, "out_depth": depth.outputs,
            "in_image": self.groups * self.planes * in_volume, "in_group": self.planes * in_volume,
            "in_channel": in_volume, "in_depth_step": rows.size * columns.size, "in_depth": depth.size,
            "in_height": rows.size, "in_width": columns.size,
            "out_image": self.groups * self.channels * volume, "out_group": self.channels * volume,
            "out_channel": volume, "out_depth_step": depth.step * rows.total * columns.total, "out_row": out_row,
            "out_start": (depth.start * rows.total + rows.start) * columns.total + columns.start,
            "depth_taps": len(depth.taps), "depth_stride": depth.stride, "stride_h": rows.stride,
            "stride_w": columns.stride, "top": top, "left": left, "phases_h": phases_h, "phases_w": phases_w,
            "phase_rows": phase_rows, "phase_columns": phase_columns, "phase": phase, "plane": plane, "rows": per_tile,
            "planes": planes, "chunk": max(1, chunk), "taps": taps, "k": self.k, "blocks": blocks,
            "block": self.tiling.block,
            "tile_blocks": tile_blocks, "channels": self.channels, "panel": panel,
            "steps_full": steps[0], "steps_last": steps[1],
            "buffer_size": buffer_size, "slot_size": buffer_size + panels_size,
            "packed_size": self.packed_bytes // item, "w_output": output_stride,
            "w_group": max(self.channels * output_stride, self.planes * plane_stride),
            "w_runs": run.count, "w_run": len(run.rows), "w_run_step": run.step, "w_run_rows": run.used,
        }  # fmt: skip
        tables = {
            "shifts": shifts,
            "depth_shifts": [shift for shift, _ in depth.taps],
            "positions_full": positions[0],
            "positions_last": positions[1],
            "copies_full": copies[0],
            "copies_last": copies[1],
            "panel_shifts": [at * lanes * vectors for at in range(chunk * taps)] if reading == "packed" else [],
            "w_rows": run.rows,
            "no_bias": [0] * self.tiling.block,
        }
        table = [0] * Field.COUNT
        for name, value in values.items():
            table[getattr(Field, name)] = value
        for name, content in tables.items():
            table[getattr(Field, name)] = len(table)
            table += content
        self.table = numbers(table)
        self.table_address = ctypes.addressof(self.table)
        self.items = self.layers * row_tiles * channel_tiles
        self.grain = max(1, self.items * TARGET_WORK // max(1, self.work))
        self.slot_bytes = (buffer_size + panels_size) * item
        self.pack_grain = max(1, (1 << 16) // max(1, self.k * self.tiling.block))

    def _weight_runs(self) -> Runs:
        """How the weights of an output lie: runs of neighbours, and which k each number of a run is (-1: unused)."""
        depth, rows, columns = ([tap for _, tap in axis.taps] for axis in self.axes)
        high, wide = self.weight_sizes
        deep = self.weight_deep
        total = deep * high * wide
        found = [-1] * total
        for d, tap_d in enumerate(depth):
            for h, tap_h in enumerate(rows):
                for w, tap_w in enumerate(columns):
                    found[(tap_d * high + tap_h) * wide + tap_w] = (d * len(rows) + h) * len(columns) + w
        used = len(depth) * len(rows) * len(columns)
        count, step = self.planes, self.weight_strides[1]
        if found == list(range(total)) and step == total:  # planes follow each other: join them into longer runs
            joined = max((n for n in range(1, count + 1) if count % n == 0 and n * total <= 256), default=1)
            count, step = count // joined, step * joined
            found, used = list(range(step)), step
        return Runs(count, step, used, found)

    def _positions(self, rows: int, row_step: int, out_row: int, panel: int) -> list[int]:
        """The table of positions of an item with so many rows, filled up to whole tiles."""
        lanes, height, vectors, reading, over = self.tiling
        outputs, step = self.axes[2].outputs, self.axes[2].step
        found = []
        if over == "channels":
            for row in range(rows):
                for first in range(0, outputs, height):
                    start = max(0, min(first, outputs - height))
                    found.append((row * row_step + start, row * out_row + start * step, first - start))
            return [number for entry in found for number in entry]
        if reading == "packed":
            total = rows * outputs
            for v in range(ceil_div(total, lanes)):
                found.append((v // vectors * panel + v % vectors * lanes, v * lanes, min(lanes, total - v * lanes)))
        else:
            for row in range(rows):
                for start in range(0, outputs, lanes):
                    if reading == "bare":
                        start = min(start, outputs - lanes)  # overlaps: nothing beyond the row is read
                    count = min(lanes, outputs - start)
                    found.append((row * row_step + start, row * out_row + start * step, count))
        while len(found) % vectors:
            found.append((*found[-1][:2], 0))
        return [number for entry in found for number in entry]

    def _copies(self, rows: int, row_step: int) -> list[int]:
        """For each panel of an item: the number of copies that fill a row of it, and (from, to) of each."""
        lanes, _, vectors, _, _ = self.tiling
        outputs, width = self.axes[2].outputs, lanes * vectors
        panels: list[list[int]] = []
        for first in range(0, rows * outputs, width):
            at, listed = first, []
            end = min(first + width, rows * outputs)
            while at < end:
                run = min(outputs - at % outputs, end - at)
                for piece in range(0, run, lanes):
                    listed += [at // outputs * row_step + at % outputs + piece, at - first + piece]
                at += run
            panels.append([len(listed) // 2, *listed])
        starts, table = [], []
        for listed in panels:
            starts.append(len(panels) + len(table))
            table += listed
        return starts + table

    # -- running ----------------------------------------------------------------------------------------------------
    @functools.cached_property
    def kernels(self) -> tuple[Kernel, Kernel]:
        """pack_weights(workspace, w, slots, table) over `packed_count`, correlate(y, workspace, x, bias, slots, biased,
        table) over `items`.
        """
        lanes, height, vectors, reading, over = self.tiling
        pack = conv_tiles.weights_kernel(self.dtype, host().lanes(self.dtype.itemsize))
        step = self.axes[2].step
        return pack, conv_tiles.correlate_kernel(self.dtype, lanes, height, vectors, step, over == "channels", reading)

    def workspace_bytes(self, slots: int) -> int:
        """The memory that a run needs beside its operands, for so many threads."""
        return 64 * slots + self.packed_bytes + slots * self.slot_bytes

    def run(self, x: int, w: int, bias: int, y: int) -> None:
        """Compute for contiguous arrays at these addresses (bias 0: none)."""
        if not self.items:
            return
        threads.install()
        slots = threads.get_num_threads()
        block = memory.size_class(self.workspace_bytes(slots))
        workspace = memory.allocate(block)
        pack, main = (kernel.address() for kernel in self.kernels)
        run, table = launch.launch, self.table_address
        run(pack, self.packed_count, self.pack_grain, workspace, w, slots, table)
        run(main, self.items, self.grain, y, workspace, x, bias, slots, int(bias != 0), table)
        memory.release(workspace, block)
