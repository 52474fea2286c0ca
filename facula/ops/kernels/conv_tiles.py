"""The innermost pieces of a convolution: a register tile of outputs, and the preparation of what it reads.

A convolution is a sum over k = (input plane, tap): out[o, p] = sum_k w[o, k] * x[start(p) + shift(k)]. For a fixed k
the values of x at neighbouring positions p are neighbours in memory. Two tiles use that. One is `height` outputs by
vectors of positions: for each k it reads a few vectors of x at one common shift, and `height` weights. The other is
`height` neighbouring positions by vectors of outputs: it reads vectors of packed weights and `height` values of x,
and transposes its result. Shifts and positions come in tables, so the same machine code serves every kernel size,
stride, dilation and padding. Nothing here knows which convolution, forward or backward, it is part of.
"""

import functools

from facula.kernel.language import (
    Kernel,
    Type,
    Value,
    as_pointer,
    atomic_store,
    compare_exchange,
    fma,
    gather,
    i32,
    i64,
    iota,
    kernel,
    load,
    pause,
    ptr,
    select,
    shuffle,
    splat,
    stack_array,
    store,
    tail_mask,
    udiv,
    unroll,
    urem,
    vec,
)
from facula.ops.kernels.gemm_tiles import transpose

POSITION = 3
"""Words of a table entry for one vector of positions: where it reads, where it writes, how many lanes it writes."""


class Field:
    """Indices into the table of numbers that describes a convolution to its kernels (see `conv_plan`)."""

    (
        groups, row_tiles, channel_tiles, out_depth,
        in_image, in_group, in_channel, in_depth_step, in_depth, in_height, in_width,
        out_image, out_group, out_channel, out_depth_step, out_row, out_start,
        depth_taps, depth_stride, stride_h, stride_w, top, left, phases_h, phases_w, phase_rows, phase_columns,
        phase, plane, rows, out_rows, planes, chunk, taps, k,
        blocks, block, tile_blocks, channels,
        panel, steps_full, steps_last,
        shifts, depth_shifts, positions_full, positions_last, copies_full, copies_last,
        buffer_size, slot_size, packed_size, panel_shifts, no_bias,
        w_output, w_group, w_runs, w_run, w_run_step, w_run_rows, w_rows,
        images, image_chunk, image_chunks, entry_tiles, tile_entries, entries, entries_of_plane, strip, out_width,
        out_step_h, out_step_w,
    ) = range(71)  # fmt: skip
    COUNT = 71


# -- register tiles -------------------------------------------------------------------------------------------------
@functools.cache
def tile_kernel(T: Type, lanes: int, height: int, vectors: int, step: int) -> Kernel:
    """`rows` <= height outputs at `vectors` vectors of positions. With `step` > 1 neighbouring positions are written
    that many elements apart.
    """
    V = vec(T, lanes)

    @kernel
    def conv_tile(
        w: ptr(T), shifts: ptr(i64), k: i64, x: ptr(T), positions: ptr(i64), y: ptr(T), y_channel: i64, rows: i64,
        bias: ptr(T), accumulate: i64,
    ):  # fmt: skip
        sums = [[V(0.0) for _ in range(vectors)] for _ in range(height)]
        reads = [x + positions[POSITION * v] for v in range(vectors)]
        for at in range(k):
            shift = shifts[at]
            row = [load(reads[v], shift, lanes) for v in range(vectors)]
            for i in unroll(range(height)):
                factor = splat(load(w, i), lanes)
                for v in unroll(range(vectors)):
                    sums[i][v] = fma(factor, row[v], sums[i][v])
            w = w + height
        if step == 1:
            masks = [tail_mask(lanes, positions[POSITION * v + 2]) for v in range(vectors)]
            writes = [y + positions[POSITION * v + 1] for v in range(vectors)]
            for i in unroll(range(height)):
                if rows > i:
                    at_row = y_channel * i
                    before = [splat(load(bias, i), lanes) for v in range(vectors)]
                    if accumulate != 0:
                        before = [load(writes[v], at_row, lanes, masks[v]) for v in range(vectors)]
                    for v in unroll(range(vectors)):
                        store(writes[v], at_row, sums[i][v] + before[v], masks[v])
        else:
            spread = stack_array(T, height * vectors * lanes)
            for i in unroll(range(height)):
                for v in unroll(range(vectors)):
                    store(spread, (i * vectors + v) * lanes, sums[i][v])
            for i in range(rows):
                for v in range(vectors):
                    start = positions[v * POSITION + 1] + y_channel * i
                    tile = spread + (i * vectors + v) * lanes
                    for lane in range(positions[v * POSITION + 2]):
                        before = load(bias, i)
                        if accumulate != 0:
                            before = y[start + lane * step]
                        y[start + lane * step] = tile[lane] + before

    return conv_tile


@functools.cache
def channels_tile_kernel(T: Type, lanes: int, height: int, vectors: int, step: int) -> Kernel:
    """`rows` <= vectors * lanes outputs at `height` neighbouring positions. The table says how many of the positions
    another tile has computed already.
    """
    V = vec(T, lanes)

    @kernel
    def conv_tile(
        w: ptr(T), shifts: ptr(i64), k: i64, x: ptr(T), positions: ptr(i64), y: ptr(T), y_channel: i64, rows: i64,
        bias: ptr(T), accumulate: i64,
    ):  # fmt: skip
        sums = [[V(0.0) for _ in range(vectors)] for _ in range(height)]
        reads = x + positions[0]
        for at in range(k):
            source = reads + shifts[at]
            column = [load(w, v * lanes, lanes) for v in range(vectors)]
            for i in unroll(range(height)):
                factor = splat(load(source, i), lanes)
                for v in unroll(range(vectors)):
                    sums[i][v] = fma(factor, column[v], sums[i][v])
            w = w + vectors * lanes
        spread = stack_array(T, height * vectors * lanes)
        for v in unroll(range(vectors)):
            for i in unroll(range(height)):
                store(spread, (v * height + i) * lanes, sums[i][v])
        first = positions[2]
        for v in range(vectors):
            left = rows - v * lanes
            plus = load(bias, v * lanes, lanes, tail_mask(lanes, left))
            plus = select(accumulate != 0, V(0.0), plus)
            writes = y + (v * lanes * y_channel + positions[1])
            for start in unroll(range(0, height, lanes)):
                count = min(lanes, height - start)
                found = [load(spread, (v * height + start + i) * lanes, lanes) + plus for i in range(count)]
                found = transpose(found + [V(0.0) for _ in range(lanes - count)], lanes)
                if step == 1:
                    numbers = iota(i32, lanes)
                    mask = (numbers >= splat(i32(first - start), lanes)) & (numbers < count)
                    for o in unroll(range(lanes)):
                        if left > o:
                            at = y_channel * o + start
                            value = found[o]
                            if accumulate != 0:
                                value = value + load(writes, at, lanes, mask)
                            store(writes, at, value, mask)
                else:
                    turned = stack_array(T, lanes * lanes)
                    for o in unroll(range(lanes)):
                        store(turned, o * lanes, found[o])
                    for o in range(min(left, lanes)):
                        for i in range(max(first - start, 0), i64(count)):
                            at = y_channel * o + (i + start) * step
                            value = turned[o * lanes + i]
                            if accumulate != 0:
                                value = value + writes[at]
                            writes[at] = value

    return conv_tile


# -- scratch memory -------------------------------------------------------------------------------------------------
# A workspace begins with a flag for each of `slots` scratch buffers, each in a cache line of its own.
FLAG_WORDS = 8


def after_flags(workspace: Value, slots: Value) -> Value:
    """Where the flags end."""
    flags = as_pointer(workspace, i64)
    return as_pointer(flags + slots * FLAG_WORDS, workspace.type.target)


@kernel
def take_slot(flags: ptr(i64), slots: i64) -> i64:
    """The number of a scratch buffer that no other thread uses."""
    slot = 0
    while True:
        _, taken = compare_exchange(flags + slot * FLAG_WORDS, i64(0), i64(1))
        if taken:
            return slot
        slot = slot + 1
        if slot == slots:
            slot = i64(0)
            pause()


# -- preparation ----------------------------------------------------------------------------------------------------
def inside(index: Value, lanes: int, bound: Value, every: int = 1) -> Value:
    """Truth for lanes whose number index + lane * every lies in [0, bound)."""
    numbers = iota(i32, lanes) * every + splat(i32(index), lanes) if lanes > 1 else i32(index)
    return (numbers >= 0) & (numbers < (splat(i32(bound), lanes) if lanes > 1 else i32(bound)))


@functools.cache
def pad_kernel(T: Type, lanes: int) -> Kernel:
    """Copy rows of planes [first, last) into a buffer with their zero border. With strides, rows and columns are sorted
    by their remainder ("phase"), so that what one tap reads at neighbouring positions is contiguous.
    """
    V = vec(T, lanes)
    even, odd = [2 * i for i in range(lanes)], [2 * i + 1 for i in range(lanes)]

    @kernel
    def pad_planes(x: ptr(T), buffer: ptr(T), g: ptr(i64), first: i64, last: i64, top: i64, depth: i64):
        width, height = g[Field.in_width], g[Field.in_height]
        columns, size = g[Field.phase_columns], g[Field.phase]
        stride_h, stride_w, left = g[Field.stride_h], g[Field.stride_w], g[Field.left]
        depth_taps = g[Field.depth_taps]
        shifts = g + g[Field.depth_shifts]
        phases_h, phases_w = g[Field.phases_h], g[Field.phases_w]
        for number in range(first, last):
            channel, tap = udiv(number, depth_taps), urem(number, depth_taps)
            z = depth + shifts[tap]
            there = (z >= 0) & (z < g[Field.in_depth])
            plane = x + (channel * g[Field.in_channel] + z * g[Field.in_depth_step])
            to_plane = buffer + (number - first) * g[Field.plane]
            for phase in range(phases_h):
                for q in range(g[Field.phase_rows]):
                    row = top + q * stride_h + phase
                    to = to_plane + (phase * phases_w * size + q * columns)
                    if there & (row >= 0) & (row < height):
                        source = plane + row * width
                        if stride_w == 1:
                            for c in range(0, columns, lanes):
                                value = load(source, c + left, lanes, inside(c + left, lanes, width))
                                store(to, c, value)
                        elif stride_w == 2:
                            for c in range(0, columns, lanes):
                                start = c * 2 + left
                                low = load(source, start, lanes, inside(start, lanes, width))
                                high = load(source, start + lanes, lanes, inside(start + lanes, lanes, width))
                                store(to, c, shuffle(low, high, even))
                                if phases_w > 1:
                                    store(to, size + c, shuffle(low, high, odd))
                        else:
                            for remainder in range(phases_w):
                                for c in range(0, columns, lanes):
                                    start = c * stride_w + (left + remainder)
                                    numbers = iota(i64, lanes) * splat(stride_w, lanes) + splat(start, lanes)
                                    kept = (numbers >= 0) & (numbers < splat(width, lanes))
                                    store(to, remainder * size + c, gather(source, numbers, kept))
                    else:
                        for remainder in range(phases_w):
                            for c in range(0, columns, lanes):
                                store(to, remainder * size + c, V(0.0))

    return pad_planes


@functools.cache
def panel_kernel(T: Type, lanes: int, width: int) -> Kernel:
    """Copy what `width` positions read into a panel: k rows of `width` values. Copies overrun; later ones repair it."""

    @kernel
    def fill_panel(buffer: ptr(T), panel: ptr(T), shifts: ptr(i64), k: i64, copies: ptr(i64), count: i64):
        for at in range(k):
            source = buffer + shifts[at]
            for c in range(count):
                store(panel, copies[2 * c + 1], load(source, copies[2 * c], lanes))
            panel = panel + width

    return fill_panel


@functools.cache
def weights_kernel(T: Type, lanes: int) -> Kernel:
    """Weights in the order in which tiles read them: blocks of `block` outputs, k by k. Outputs that do not exist are
    copies of the last one. Also makes every scratch buffer free.

    The weights of an output come in runs of neighbours; a table says which k each of a run's numbers is, or -1.
    """

    @kernel
    def pack_weights(workspace: ptr(T), w: ptr(T), slots: i64, g: ptr(i64), lo: i64, hi: i64):
        if lo == 0:
            for slot in range(slots):
                as_pointer(workspace, i64)[slot * FLAG_WORDS] = 0
        blocks, height, channels, k = g[Field.blocks], g[Field.block], g[Field.channels], g[Field.k]
        run, step = g[Field.w_run], g[Field.w_run_step]
        rows_of = g + g[Field.w_rows]
        for block in range(lo, hi):
            to_block = after_flags(workspace, slots) + block * k * height
            first = urem(block, blocks) * height
            source = w + udiv(block, blocks) * g[Field.w_group]
            for number in range(g[Field.w_runs]):
                from_run = source + number * step
                to_run = to_block + number * g[Field.w_run_rows] * height
                if height <= 4:
                    for i in range(height):
                        from_row = from_run + min(first + i, channels - 1) * g[Field.w_output]
                        to = to_run + i
                        for j in range(run):
                            if rows_of[j] >= 0:
                                to[rows_of[j] * height] = from_row[j]
                else:
                    for start in range(0, height, lanes):
                        mask = tail_mask(lanes, height - start)
                        for at in range(0, run, lanes):
                            left = run - at
                            there = tail_mask(lanes, left)
                            outputs = [min(first + start + i, channels - 1) for i in range(lanes)]
                            found = [load(from_run, o * g[Field.w_output] + at, lanes, there) for o in outputs]
                            found = transpose(found, lanes)
                            to = to_run + start
                            for j in unroll(range(lanes)):
                                if left > j:
                                    row = rows_of[at + j]
                                    if row >= 0:
                                        store(to, row * height, found[j], mask)

    return pack_weights


# -- all of it ------------------------------------------------------------------------------------------------------
@functools.cache
def correlate_kernel(
    T: Type, lanes: int, height: int, vectors: int, step: int, over_channels: bool, reading: str
) -> Kernel:
    """Items [lo, hi) of a convolution. An item is some rows of one image (of one depth), one group and some blocks of
    output channels. It pads what it reads, a chunk of planes at a time, and runs over blocks and positions.
    """
    width = lanes * vectors
    pad, fill = pad_kernel(T, lanes), panel_kernel(T, lanes, width)
    tile = (channels_tile_kernel if over_channels else tile_kernel)(T, lanes, height, vectors, step)
    outputs, entry = (width, POSITION) if over_channels else (height, POSITION * vectors)

    @kernel
    def correlate(
        y: ptr(T), workspace: ptr(T), x: ptr(T), bias: ptr(T), slots: i64, biased: i64, g: ptr(i64), lo: i64, hi: i64
    ):
        flags = as_pointer(workspace, i64)
        packed = after_flags(workspace, slots)
        slot = take_slot(flags, slots)
        buffer = packed + (g[Field.packed_size] + slot * g[Field.slot_size])
        panels = buffer + g[Field.buffer_size]
        no_bias = as_pointer(g + g[Field.no_bias], T)
        shifts, k, taps = g + g[Field.shifts], g[Field.k], g[Field.taps]
        blocks, tile_blocks, chunk, planes = g[Field.blocks], g[Field.tile_blocks], g[Field.chunk], g[Field.planes]
        row_tiles, channel_tiles = g[Field.row_tiles], g[Field.channel_tiles]
        groups, out_depth = g[Field.groups], g[Field.out_depth]
        padded = i64(-1)
        for item in range(lo, hi):
            place, channel_tile = udiv(item, channel_tiles), urem(item, channel_tiles)
            row_tile, layer = urem(place, row_tiles), udiv(place, row_tiles)
            z, plane_group = urem(layer, out_depth), udiv(layer, out_depth)
            group, image = urem(plane_group, groups), udiv(plane_group, groups)
            is_last = row_tile == row_tiles - 1
            positions = g + select(is_last, g[Field.positions_last], g[Field.positions_full])
            steps = select(is_last, g[Field.steps_last], g[Field.steps_full])
            copies = g + select(is_last, g[Field.copies_last], g[Field.copies_full])
            row = row_tile * g[Field.rows]
            source = x + (image * g[Field.in_image] + group * g[Field.in_group])
            top = row * g[Field.stride_h] + g[Field.top]
            target = y + (
                image * g[Field.out_image] + group * g[Field.out_group] + z * g[Field.out_depth_step]
                + row * g[Field.out_row] + g[Field.out_start]
            )  # fmt: skip
            first_block = channel_tile * tile_blocks
            last_block = min(first_block + tile_blocks, blocks)
            for first in range(0, planes, chunk):
                last = min(first + chunk, planes)
                used = (last - first) * taps
                reads = buffer
                if reading == "bare":
                    reads = source + (first * g[Field.in_channel] + top * g[Field.in_width] + g[Field.left])
                else:
                    if (padded != place) | (chunk < planes):
                        pad(source, buffer, g, first, last, top, z * g[Field.depth_stride])
                        if reading == "packed":
                            for s in range(steps):
                                listed = copies + copies[s]
                                fill(buffer, panels + s * g[Field.panel], shifts, used, listed + 1, listed[0])
                    if reading == "packed":
                        reads = panels
                for block in range(first_block, last_block):
                    number = group * blocks + block
                    w = packed + (number * k + first * taps) * outputs
                    rows = min(g[Field.channels] - block * outputs, outputs)
                    at_bias = no_bias
                    if biased != 0:
                        at_bias = bias + (group * g[Field.channels] + block * outputs)
                    to = target + block * outputs * g[Field.out_channel]
                    table = g + g[Field.panel_shifts if reading == "packed" else Field.shifts]
                    for s in range(steps):
                        tile(
                            w, table, used, reads, positions + s * entry, to, g[Field.out_channel],
                            rows, at_bias, first,
                        )  # fmt: skip
            padded = place
        atomic_store(flags + slot * FLAG_WORDS, 0)

    return correlate
