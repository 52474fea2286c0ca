"""The gradient of a convolution with respect to its weights.

dw[o, plane, tap] = sum over images and positions p of dy[o, p] * x[plane, p * stride + shift(tap)]. Vectors run over
the outputs o: dy is transposed strip by strip to [position][o], and each position multiplies its vectors of dy by the
values of x that a run of neighbouring taps reads. Images are summed in chunks that depend on sizes only; the chunks'
sums are added in their order, so results do not depend on the number of threads.

The plan works like `conv_plan.Correlation`: it knows sizes only.
"""

import ctypes
import functools
import itertools
from typing import NamedTuple

from facula.kernel.language import (
    Kernel,
    Type,
    as_pointer,
    atomic_store,
    fma,
    host,
    i64,
    kernel,
    load,
    ptr,
    splat,
    store,
    tail_mask,
    udiv,
    unroll,
    urem,
    vec,
)
from facula.ops.kernels.conv_plan import MOST_ITEMS, TARGET_WORK, TYPES, Axis, ceil_div, numbers
from facula.ops.kernels.conv_tiles import FLAG_WORDS, Field, after_flags, pad_kernel, take_slot
from facula.ops.kernels.gemm_tiles import transpose
from facula.runtime import launch, memory, threads

ENTRY = 3
"""Words of a table entry for a run of taps: where it reads, its first k, how many of its taps exist."""

_STRIP = 128 << 10  # bytes of transposed dy that are worked on at a time
_PADDED = 256 << 10  # bytes of padded x


@functools.cache
def turn_kernel(T: Type, lanes: int, vectors: int) -> Kernel:
    """dy[o][p] to [p][o] for `channels` <= vectors * lanes outputs and `count` positions; missing outputs are zero."""
    V = vec(T, lanes)

    @kernel
    def turn(dy: ptr(T), y_channel: i64, channels: i64, count: i64, turned: ptr(T)):
        for v in range(vectors):
            left = channels - v * lanes
            for first in range(0, count, lanes):
                mask = tail_mask(lanes, count - first)
                source = dy + (v * lanes * y_channel + first)
                rows = [V(0.0) for _ in range(lanes)]
                for o in unroll(range(lanes)):
                    if left > o:
                        rows[o] = load(source, y_channel * o, lanes, mask)
                rows = transpose(rows, lanes)
                to = turned + (first * (vectors * lanes) + v * lanes)
                there = count - first
                for p in unroll(range(lanes)):
                    if there > p:
                        store(to, p * vectors * lanes, rows[p])

    return turn


@functools.cache
def weight_tile_kernel(T: Type, lanes: int, height: int, run: int, vectors: int) -> Kernel:
    """Add to sums[k][o] for `height` runs of taps what `rows` x `columns` positions give."""
    V = vec(T, lanes)
    width = vectors * lanes

    @kernel
    def weight_tile(
        turned: ptr(T), x: ptr(T), entries: ptr(i64), rows: i64, columns: i64, x_row: i64, x_column: i64,
        sums: ptr(T), started: i64,
    ):  # fmt: skip
        added = [[[V(0.0) for _ in range(vectors)] for _ in range(run)] for _ in range(height)]
        shifts = [entries[ENTRY * i] for i in range(height)]
        for row in range(rows):
            reads = [x + (shifts[i] + row * x_row) for i in range(height)]
            at = i64(0)
            for _ in range(columns):
                column = [load(turned, v * lanes, lanes) for v in range(vectors)]
                for i in unroll(range(height)):
                    for j in unroll(range(run)):
                        factor = splat(load(reads[i] + at, j), lanes)
                        for v in unroll(range(vectors)):
                            added[i][j][v] = fma(factor, column[v], added[i][j][v])
                turned = turned + width
                at = at + x_column
        for i in unroll(range(height)):
            there = entries[ENTRY * i + 2]
            to = sums + entries[ENTRY * i + 1] * width
            for j in unroll(range(run)):
                if there > j:
                    before = [V(0.0) for _ in range(vectors)]
                    if started != 0:
                        before = [load(to, j * width + v * lanes, lanes) for v in range(vectors)]
                    for v in unroll(range(vectors)):
                        store(to, j * width + v * lanes, added[i][j][v] + before[v])

    return weight_tile


@functools.cache
def weight_kernel(T: Type, lanes: int, height: int, run: int, vectors: int) -> Kernel:
    """Items [lo, hi). An item is some images, one group, one block of outputs and some runs of taps."""
    width = vectors * lanes
    pad, turn = pad_kernel(T, lanes), turn_kernel(T, lanes, vectors)
    tile = weight_tile_kernel(T, lanes, height, run, vectors)

    @kernel
    def weight_sums(workspace: ptr(T), x: ptr(T), dy: ptr(T), slots: i64, g: ptr(i64), lo: i64, hi: i64):
        flags = as_pointer(workspace, i64)
        sums = after_flags(workspace, slots)
        slot = take_slot(flags, slots)
        buffer = sums + (g[Field.packed_size] + slot * g[Field.slot_size])
        turned = buffer + g[Field.buffer_size]
        blocks, groups, entry_tiles = g[Field.blocks], g[Field.groups], g[Field.entry_tiles]
        tile_entries, image_chunk, images = g[Field.tile_entries], g[Field.image_chunk], g[Field.images]
        per_plane, strip, out_rows = g[Field.entries_of_plane], g[Field.strip], g[Field.out_rows]
        out_width, out_depth = g[Field.out_width], g[Field.out_depth]
        entries = g + g[Field.shifts]
        for item in range(lo, hi):
            entry_tile, rest = urem(item, entry_tiles), udiv(item, entry_tiles)
            block, rest_group = urem(rest, blocks), udiv(rest, blocks)
            group, image_tile = urem(rest_group, groups), udiv(rest_group, groups)
            first_entry = entry_tile * tile_entries
            last_entry = min(first_entry + tile_entries, g[Field.entries])
            first_plane = udiv(first_entry, per_plane)
            last_plane = udiv(last_entry - 1, per_plane) + 1
            # Entries say where they read counted from plane 0; the buffer begins with the first plane of this item.
            base = buffer - first_plane * g[Field.plane]
            channels = min(g[Field.channels] - block * width, width)
            to = sums + (image_tile * groups * blocks + group * blocks + block) * (g[Field.k] * width)
            started = i64(0)
            for image in range(image_tile * image_chunk, min(image_tile * image_chunk + image_chunk, images)):
                source = x + (image * g[Field.in_image] + group * g[Field.in_group])
                gradient = dy + (
                    image * g[Field.out_image] + group * g[Field.out_group] + block * width * g[Field.out_channel]
                )
                for z in range(out_depth):
                    for row in range(0, out_rows, strip):
                        rows = min(strip, out_rows - row)
                        pad(
                            source, buffer, g, first_plane, last_plane, row * g[Field.out_step_h] + g[Field.top],
                            z * g[Field.depth_stride],
                        )  # fmt: skip
                        turn(
                            gradient + (z * g[Field.out_depth_step] + row * out_width), g[Field.out_channel], channels,
                            rows * out_width, turned,
                        )  # fmt: skip
                        for entry in range(first_entry, last_entry, height):
                            tile(
                                turned, base, entries + entry * ENTRY, rows, out_width,
                                g[Field.phase_columns] * g[Field.out_step_h], g[Field.out_step_w], to, started,
                            )  # fmt: skip
                        started = i64(1)
        atomic_store(flags + slot * FLAG_WORDS, 0)

    return weight_sums


@functools.cache
def collect_kernel(T: Type, lanes: int, vectors: int) -> Kernel:
    """dw from the sums of the chunks of images: blocks [lo, hi) of [k][o] are added and transposed."""
    V = vec(T, lanes)
    width = vectors * lanes

    @kernel
    def collect(dw: ptr(T), workspace: ptr(T), slots: i64, g: ptr(i64), lo: i64, hi: i64):
        sums = after_flags(workspace, slots)
        k, blocks, chunks = g[Field.k], g[Field.blocks], g[Field.image_chunks]
        apart = g[Field.groups] * blocks * k * width
        for piece in range(lo, hi):
            block, v = udiv(piece, vectors), urem(piece, vectors)
            first = urem(block, blocks) * width + v * lanes
            left = g[Field.channels] - first
            to = dw + (udiv(block, blocks) * g[Field.channels] + first) * k
            source = sums + (block * k * width + v * lanes)
            for at in range(0, k, lanes):
                rows = [V(0.0) for _ in range(lanes)]
                for i in unroll(range(lanes)):
                    if k - at > i:
                        for chunk in range(chunks):
                            rows[i] = rows[i] + load(source, chunk * apart + (at + i) * width, lanes)
                rows = transpose(rows, lanes)
                mask = tail_mask(lanes, k - at)
                for o in unroll(range(lanes)):
                    if left > o:
                        store(to, k * o + at, rows[o], mask)

    return collect


@kernel
def free_slots(workspace: ptr(i64), slots: i64, lo: i64, hi: i64):
    """Make every scratch buffer free."""
    for slot in range(slots):
        workspace[slot * FLAG_WORDS] = 0


class WeightTiling(NamedTuple):
    """A choice of code: lanes of a vector, runs of taps and vectors of outputs in a tile, taps of a run."""

    lanes: int
    height: int
    vectors: int
    run: int


class WeightGradient:
    """A plan for sizes: `axes` are those of the forward convolution (input size, outputs, stride, taps)."""

    def __init__(
        self,
        dtype: str,
        images: int,
        groups: int,
        planes: int,
        channels: int,
        axes: tuple[Axis, Axis, Axis],
        tiling: WeightTiling | None = None,
    ) -> None:
        self.dtype, self.images, self.groups = TYPES[dtype], images, groups
        self.planes, self.channels, self.axes = planes, channels, axes
        depth, rows, columns = axes
        self.k = planes * len(depth.taps) * len(rows.taps) * len(columns.taps)
        self.positions = depth.outputs * rows.outputs * columns.outputs
        self.work = max(1, images * groups * channels * self.k * self.positions)
        self.tiling = tiling or min(self.tilings(), key=self.cost)
        self._lay_out()

    def tilings(self) -> list[WeightTiling]:
        """All that could compute this."""
        columns = self.axes[2]
        registers = host().registers
        widest = host().lanes(self.dtype.itemsize)
        taps = [shift for shift, _ in columns.taps]
        neighbours = all(b - a == 1 for a, b in itertools.pairwise(taps))
        found = []
        for lanes in [widest, widest // 2] if host().vector_bits == 512 else [widest]:
            for vectors in range(1, min(4, ceil_div(self.channels, lanes)) + 1):
                most = (registers - vectors - 1) // vectors
                parts = ceil_div(len(taps), most) if neighbours else len(taps)
                run = ceil_div(len(taps), parts)
                for height in range(1, min(most // run, 12) + 1):
                    found.append(WeightTiling(lanes, height, vectors, run))
        return found

    def cost(self, tiling: WeightTiling) -> float:
        """An estimate in cycles for one position of one image."""
        lanes, height, vectors, run = tiling
        width = lanes * self.dtype.itemsize / 64
        blocks = ceil_div(self.channels, lanes * vectors)
        entries = self.k // len(self.axes[2].taps) * ceil_div(len(self.axes[2].taps), run)
        taps = height * run
        tile = max(taps * vectors * width, taps * 0.5 + vectors * width, 4.0) + 1.0 + 2.0 / self.axes[2].outputs
        return blocks * (ceil_div(entries, height) * tile + vectors * 6.0)

    def _lay_out(self) -> None:
        lanes, height, vectors, run = self.tiling
        depth, rows, columns = self.axes
        item, width = self.dtype.itemsize, lanes * vectors
        top, left = (min(shift for shift, _ in axis.taps) for axis in (rows, columns))
        span_h, span_w = (
            max(shift for shift, _ in axis.taps) - min(shift for shift, _ in axis.taps) for axis in (rows, columns)
        )
        parts = ceil_div(len(columns.taps), run)
        per_plane = len(rows.taps) * parts
        planes = self.planes * len(depth.taps)
        entries = planes * per_plane
        blocks = ceil_div(self.channels, width)

        phase_columns = (columns.outputs - 1) * columns.stride + span_w + 1
        strip = min(rows.outputs, max(1, _STRIP // item // max(1, width * columns.outputs)))
        strip = ceil_div(rows.outputs, ceil_div(rows.outputs, strip))
        phase_rows = (strip - 1) * rows.stride + span_h + 1
        plane = phase_rows * phase_columns + lanes

        wanted = min(MOST_ITEMS, ceil_div(self.work, TARGET_WORK))
        chunks = min(self.images, ceil_div(wanted, self.groups * blocks))
        # The sums of all chunks must stay small beside the work that makes them.
        chunks = max(1, min(chunks, self.images * self.positions // 64))
        image_chunk = ceil_div(self.images, chunks)
        chunks = ceil_div(self.images, image_chunk)
        entry_tiles = max(ceil_div(wanted, self.groups * blocks * chunks), ceil_div(planes * plane * item, _PADDED))
        tile_entries = ceil_div(ceil_div(entries, height), min(entry_tiles, ceil_div(entries, height))) * height
        entry_tiles = ceil_div(entries, tile_entries)
        most_planes = min(planes, (tile_entries - 1) // per_plane + 2)

        table_entries: list[int] = []
        for number in range(planes):
            for h, (shift_h, _) in enumerate(rows.taps):
                for part in range(parts):
                    first = part * run
                    shift_w = columns.taps[first][0] - left
                    k = (number * len(rows.taps) + h) * len(columns.taps) + first
                    valid = min(run, len(columns.taps) - first)
                    table_entries += [number * plane + (shift_h - top) * phase_columns + shift_w, k, valid]
        table_entries += [(planes - 1) * plane, 0, 0] * (-entries % tile_entries)

        buffer_size = most_planes * plane + 2 * lanes + 31 & ~15
        slot_size = buffer_size + (strip * columns.outputs + lanes) * width + 31 & ~15
        sums = chunks * self.groups * blocks * self.k * width + 15 & ~15
        volume = rows.outputs * columns.outputs
        in_volume = depth.size * rows.size * columns.size
        values = {
            "groups": self.groups, "out_depth": depth.outputs, "in_image": self.groups * self.planes * in_volume,
            "in_group": self.planes * in_volume, "in_channel": in_volume, "in_depth_step": rows.size * columns.size,
            "in_depth": depth.size, "in_height": rows.size, "in_width": columns.size,
            "out_image": self.groups * self.channels * self.positions, "out_group": self.channels * self.positions,
            "out_channel": self.positions, "out_depth_step": volume, "depth_taps": len(depth.taps),
            "depth_stride": depth.stride, "stride_h": 1, "stride_w": 1, "top": top, "left": left, "phases_h": 1,
            "phases_w": 1, "phase_rows": phase_rows, "phase_columns": phase_columns, "phase": plane, "plane": plane,
            "out_step_h": rows.stride, "out_step_w": columns.stride, "out_rows": rows.outputs, "k": self.k,
            "blocks": blocks, "channels": self.channels, "buffer_size": buffer_size, "slot_size": slot_size,
            "packed_size": sums, "images": self.images,
            "image_chunk": image_chunk, "image_chunks": chunks, "entry_tiles": entry_tiles,
            "tile_entries": tile_entries, "entries": entries, "entries_of_plane": per_plane, "strip": strip,
            "out_width": columns.outputs,
        }  # fmt: skip
        table = [0] * Field.COUNT
        for name, value in values.items():
            table[getattr(Field, name)] = value
        for name, content in (("shifts", table_entries), ("depth_shifts", [shift for shift, _ in depth.taps])):
            table[getattr(Field, name)] = len(table)
            table += content
        self.table = numbers(table)
        self.table_address = ctypes.addressof(self.table)
        self.items = chunks * self.groups * blocks * entry_tiles
        self.grain = max(1, self.items * TARGET_WORK // self.work)
        self.pieces = self.groups * blocks * vectors
        self.collect_grain = max(1, self.pieces * (1 << 16) // sums)
        self.sums_bytes, self.slot_bytes = sums * item, slot_size * item

    @functools.cached_property
    def kernels(self) -> tuple[Kernel, Kernel, Kernel]:
        """free_slots(workspace, slots) once, weight_sums(workspace, x, dy, slots, table) over `items`,
        collect(dw, workspace, slots, table) over `pieces`.
        """
        lanes, height, vectors, run = self.tiling
        main = weight_kernel(self.dtype, lanes, height, run, vectors)
        return free_slots, main, collect_kernel(self.dtype, lanes, vectors)

    def workspace_bytes(self, slots: int) -> int:
        """The memory that a run needs beside its operands, for so many threads."""
        return 64 * slots + self.sums_bytes + slots * self.slot_bytes

    def run(self, x: int, dy: int, dw: int) -> None:
        """Compute for contiguous arrays at these addresses."""
        threads.install()
        slots = threads.get_num_threads()
        block = memory.size_class(self.workspace_bytes(slots))
        workspace = memory.allocate(block)
        free, main, collect = (kernel.address() for kernel in self.kernels)
        run, table = launch.launch, self.table_address
        run(free, 1, 1, workspace, slots)
        run(main, self.items, self.grain, workspace, x, dy, slots, table)
        run(collect, self.pieces, self.collect_grain, dw, workspace, slots, table)
        memory.release(workspace, block)
