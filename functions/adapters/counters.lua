-- The counters of slidr/counters.py, server side: one call a key and click, all state of a key in one string.
--
-- Above this text the adapter puts the shebang and, from slidr/counters.py: NAME, RECENT_CAP, GAPS, KEEP_MS, DAY_MS,
-- LATENESS_MS, TTL_MS, EXACT_WINDOWS_MS, FINE_MS, FINE_BUCKETS, COARSE_MS, COARSE_BUCKETS and
-- MEMBER_SETS = {letter = {{cap=, keep_ms=, windows_ms={...}}, ...}} by the first letter of a key.
--
-- KEYS[1]: letter, layout version, key digest. ARGV[1]: at (6 bytes), id (8), for each member set a flag (1), digest (8).
-- Reply: one row of raw counts, little-endian int32.
-- Value, big-endian: a 2-byte length for each block, then the blocks; their entries ascend:
--   Recent: at (6), id (8).   Members, a block each set: newest at (6), digest (8).
--   Five-minute buckets, hour buckets: index (4), clicks up to and with this bucket (4). The newest bucket that is no
--   longer kept stays as the first entry: where the sums begin.
--
-- Lua numbers are doubles, so 64-bit ids are compared as two halves; `<` on strings follows the locale: never used.

local ENTRY, BUCKET, MODULUS = 14, 8, 4294967296

-- While a library loads, the server hides all but `redis`: the first call prepares these.
local sub, find, byte, floor, max, min, pack, read, entities

local function prepare()
  sub, find, byte, floor, max, min = string.sub, string.find, string.byte, math.floor, math.max, math.min
  pack, read = struct.pack, struct.unpack
  entities = {}
  for letter, sets in pairs(MEMBER_SETS) do
    local columns = 2 + #EXACT_WINDOWS_MS + 2 + GAPS
    for _, set in ipairs(sets) do columns = columns + #set.windows_ms end
    local header = '>' .. string.rep('I2', 3 + #sets)
    entities[byte(letter)] = {
      sets = sets,
      header = header,
      empty = string.rep('\0\0', 3 + #sets),
      reply = '<' .. string.rep('i4', columns),
      columns = columns,
      row = {}, -- these two are reused by every call: the server runs one at a time
      pieces = {},
    }
  end
end

-- In what follows, entry i (from 0) of a block lies behind `base` + i * ENTRY bytes of `value`.

local function time_of(value, base, i)
  return (read('>I6', value, base + i * ENTRY + 1))
end

local function is_below(value, base, i, at, high, low)
  local other, other_high, other_low = read('>I6I4I4', value, base + i * ENTRY + 1)
  if other ~= at then return other < at end
  if other_high ~= high then return other_high < high end
  return other_low < low
end

-- How many of `count` entries lie below (at, id): by steps that double from the end, where clicks arrive.
local function count_below(value, base, count, at, high, low)
  local last, first, step = count, count - 1, 1
  while first >= 0 and not is_below(value, base, first, at, high, low) do
    last, step = first, step * 2
    first = last - step
  end
  first = max(first, -1)
  while last - first > 1 do
    local middle = floor((first + last) / 2)
    if is_below(value, base, middle, at, high, low) then first = middle else last = middle end
  end
  return last
end

-- How many of `count` entries are not after `edge`.
local function count_up_to(value, base, count, edge)
  if count == 0 or read('>I6', value, base + 1) > edge then return 0 end
  local last, first, step = count, count - 1, 1
  while first > 0 and read('>I6', value, base + first * ENTRY + 1) > edge do
    last, step = first, step * 2
    first = last - step
  end
  first = max(first, 0)
  while last - first > 1 do
    local middle = floor((first + last) / 2)
    if read('>I6', value, base + middle * ENTRY + 1) > edge then last = middle else first = middle end
  end
  return last
end

-- The buckets with one more click in `index`; of those up to `oldest`, one stays.
local function add_to_buckets(value, base, count, index, oldest)
  local stop = base + count * BUCKET
  local last, sum = -1, 0
  if count > 0 then last, sum = read('>I4I4', value, stop - BUCKET + 1) end
  local block
  if last == index then
    block = sub(value, base + 1, stop - 4) .. pack('>I4', (sum + 1) % MODULUS)
  elseif last < index then
    block = sub(value, base + 1, stop) .. pack('>I4I4', index, (sum + 1) % MODULUS)
  else -- out of order: all later sums grow
    local parts, before, placed = {}, 0, false
    for position = base + 1, stop, BUCKET do
      last, sum = read('>I4I4', value, position)
      if last > index and not placed then parts[#parts + 1] = pack('>I4I4', index, (before + 1) % MODULUS) end
      placed, before = placed or last >= index, sum
      parts[#parts + 1] = pack('>I4I4', last, placed and (sum + 1) % MODULUS or sum)
    end
    block = table.concat(parts)
  end
  local stale = 0
  while stale + BUCKET < #block and read('>I4', block, stale + BUCKET + 1) <= oldest do stale = stale + BUCKET end
  return stale == 0 and block or sub(block, stale + 1)
end

-- Clicks in the kept ones (after `oldest`) of the `width` buckets up to and with `index`.
local function sum_buckets(block, index, width, oldest)
  local position, low, high = 1, 0, 0
  local edge = max(index - width, oldest)
  while position < #block do
    local other, sum = read('>I4I4', block, position)
    if other > edge then break end
    low, position = sum, position + BUCKET
  end
  high, position = low, #block - BUCKET + 1
  while position > 0 do
    local other, sum = read('>I4I4', block, position)
    if other <= index then
      if other > edge then high = sum end
      break
    end
    position = position - BUCKET
  end
  return (high - low) % MODULUS
end

-- The member set with the click's own member, the new number of members, and when that member was last seen (-1: never;
-- nil: the click has none, or is not the newest with it).
local function add_member(value, base, count, set, at, click, flag, newest)
  local stop = base + count * ENTRY
  local block, seen
  if byte(click, flag) == 1 then
    local digest = sub(click, flag + 1, flag + 8)
    local found = find(value, digest, base + 7, true)
    while found and (found - base - 7) % ENTRY ~= 0 do found = find(value, digest, found + 1, true) end
    if found and found < stop then seen = time_of(value, found - 7, 0) else found, seen = nil, -1 end
    if seen < at then
      local high, low = read('>I4I4', digest)
      local split = base + count_below(value, base, count, at, high, low) * ENTRY
      local before = found and sub(value, base + 1, found - 7) .. sub(value, found + 8, split) or sub(value, base + 1, split)
      block = before .. sub(click, 1, 6) .. digest .. sub(value, split + 1, stop)
    else
      seen = nil
    end
  end
  block = block or sub(value, base + 1, stop)
  count = #block / ENTRY
  local stale = max(0, count - set.cap - 1)
  while stale < count and read('>I6', block, stale * ENTRY + 1) <= newest - set.keep_ms do stale = stale + 1 end
  return stale == 0 and block or sub(block, stale * ENTRY + 1), count - stale, seen
end

local function apply(keys, args)
  if not entities then prepare() end
  local key, click = keys[1], args[1]
  local entity = entities[byte(key)]
  local at, high, low = read('>I6I4I4', click)
  local value = redis.call('GET', key) or entity.empty
  local lengths = {read(entity.header, value)}
  local base = #entity.empty
  local count = lengths[1]
  local stop = base + count * ENTRY
  local newest = count > 0 and time_of(value, base, count - 1) or at
  local rank = count_below(value, base, count, at, high, low)
  local own = sub(click, 1, ENTRY)
  local found = rank < count and sub(value, base + rank * ENTRY + 1, base + (rank + 1) * ENTRY) == own
  local late = at <= newest - LATENESS_MS or (count > RECENT_CAP and rank == 0 and not found)
  local applied = not late and not found

  -- Recent, after the click: the old entries from `stale` on, and the click at `rank`.
  local stale, size = 0, count
  if applied then
    newest = max(newest, at)
    stale = max(0, count - RECENT_CAP)
    while stale < rank do
      local other = time_of(value, base, stale)
      if other > newest - KEEP_MS or (stale >= count - GAPS and other > newest - DAY_MS) then break end
      stale = stale + 1
    end
    size = count + 1 - stale
  end

  local row, pieces = entity.row, entity.pieces
  row[1], row[2] = 1, late and 1 or 0
  local lowest = size > RECENT_CAP and (applied and stale == rank and at or time_of(value, base, stale))
  local outside, columns = rank, 2
  for i = 1, #EXACT_WINDOWS_MS do
    local edge = at - EXACT_WINDOWS_MS[i]
    outside = count_up_to(value, base, outside, edge)
    columns = columns + 1
    row[columns] = lowest and lowest > edge and RECENT_CAP or rank - outside
  end

  local fine, coarse = floor(at / FINE_MS), floor(at / COARSE_MS)
  local oldest_fine = floor(newest / FINE_MS) - FINE_BUCKETS - 2
  local oldest_coarse = floor(newest / COARSE_MS) - COARSE_BUCKETS - 1
  local fine_stop = stop + lengths[2] * BUCKET
  local coarse_stop = fine_stop + lengths[3] * BUCKET
  if applied then
    pieces[2] = sub(value, base + stale * ENTRY + 1, base + rank * ENTRY)
    pieces[3] = own
    pieces[4] = sub(value, base + rank * ENTRY + 1, stop)
    pieces[5] = add_to_buckets(value, stop, lengths[2], fine, oldest_fine)
    pieces[6] = add_to_buckets(value, fine_stop, lengths[3], coarse, oldest_coarse)
  else
    pieces[5] = sub(value, stop + 1, fine_stop)
    pieces[6] = sub(value, fine_stop + 1, coarse_stop)
  end
  local itself = (applied or found) and 1 or 0
  row[columns + 1] = sum_buckets(pieces[5], fine, FINE_BUCKETS, oldest_fine) - itself
  row[columns + 2] = sum_buckets(pieces[6], coarse, COARSE_BUCKETS, oldest_coarse) - itself
  columns = columns + 2

  local later = at
  for i = 1, GAPS do
    local earlier = rank - i >= stale and time_of(value, base, rank - i)
    if earlier and earlier > at - DAY_MS then
      row[columns + i], later = later - earlier, earlier
    else
      row[columns + i] = -1
    end
  end
  columns = columns + GAPS

  base = coarse_stop
  for i = 1, #entity.sets do
    local set, members, seen = entity.sets[i], lengths[3 + i], nil
    if applied then
      pieces[6 + i], lengths[3 + i], seen =
        add_member(value, base, members, set, at, click, ENTRY + 1 + (i - 1) * 9, newest)
    end
    -- The members before the click, and the click's own if it was not among them. What trimming took away lies outside
    -- every window of a click on time, or the cap stands for it.
    outside = members
    for j = 1, #set.windows_ms do
      local edge = at - set.windows_ms[j]
      outside = count_up_to(value, base, outside, edge)
      columns = columns + 1
      row[columns] = min(members - outside + (seen and seen <= edge and 1 or 0), set.cap)
    end
    base = base + members * ENTRY
  end
  if base ~= #value then return redis.error_reply('ERR a counter value has an unknown layout') end

  if applied then
    lengths[1], lengths[2], lengths[3] = size, #pieces[5] / BUCKET, #pieces[6] / BUCKET
    pieces[1] = pack(entity.header, unpack(lengths, 1, 3 + #entity.sets))
    -- Keys die at different times: thousands that expire at once would stall the server.
    local spread_high, spread_low = byte(key, -2, -1)
    local ttl = floor(TTL_MS * (1 + (spread_high * 256 + spread_low) / 655360))
    redis.call('SET', key, table.concat(pieces), 'PX', ttl)
  end
  return pack(entity.reply, unpack(row, 1, columns))
end

redis.register_function(NAME, apply)
