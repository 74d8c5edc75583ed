-- The audit log: who did what to which job, each entry chained to the one before it by SHA-256, in the step of the deed.
-- Scripts that write to it say `Needs: audit_chain` in their header.
--
-- darkroom:audit       stream  entries that are not sealed yet; an entry's id is its number and '-0'
-- darkroom:audit:head  hash    seq and hash of the latest entry; sealed: the latest one that lies in the object store
--
-- An entry's hash is that of the lines: hash before, number, time, actor, action, subject, details. None holds a newline.

local AUDIT, AUDIT_HEAD = 'darkroom:audit', 'darkroom:audit:head'
local NO_HASH = string.rep('0', 64)

local function sha256(text)
  local tobit, bxor, band, bnot, ror, shift = bit.tobit, bit.bxor, bit.band, bit.bnot, bit.ror, bit.rshift
  local k = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
  }
  local h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}
  local padded = text .. '\128' .. string.rep('\0', (55 - #text) % 64) .. struct.pack('>I4I4', 0, #text * 8)
  for start = 1, #padded, 64 do
    local w = {}
    for i = 1, 16 do w[i] = tobit(struct.unpack('>I4', padded, start + 4 * (i - 1))) end
    for i = 17, 64 do
      local near, far = w[i - 2], w[i - 15]
      local s0 = bxor(ror(far, 7), ror(far, 18), shift(far, 3))
      local s1 = bxor(ror(near, 17), ror(near, 19), shift(near, 10))
      w[i] = tobit(w[i - 16] + s0 + w[i - 7] + s1)
    end
    local a, b, c, d, e, f, g, last = unpack(h)
    for i = 1, 64 do
      local s1 = bxor(ror(e, 6), ror(e, 11), ror(e, 25))
      local t1 = last + s1 + bxor(band(e, f), band(bnot(e), g)) + k[i] + w[i]
      local s0 = bxor(ror(a, 2), ror(a, 13), ror(a, 22))
      local t2 = s0 + bxor(band(a, b), band(a, c), band(b, c))
      last, g, f, e, d, c, b, a = g, f, e, tobit(d + t1), c, b, a, tobit(t1 + t2)
    end
    for i, part in ipairs({a, b, c, d, e, f, g, last}) do h[i] = tobit(h[i] + part) end
  end
  local words = {}
  for i = 1, 8 do words[i] = bit.tohex(h[i]) end
  return table.concat(words)
end

-- Adds an entry; `details` is JSON. Gives its number.
local function audit(actor, action, subject, details, now)
  local head = redis.call('HMGET', AUDIT_HEAD, 'seq', 'hash')
  local seq, prev = string.format('%d', tonumber(head[1] or '0') + 1), head[2] or NO_HASH
  local time = string.format('%.6f', now)
  local hash = sha256(table.concat({prev, seq, time, actor, action, subject, details}, '\n'))
  redis.call('XADD', AUDIT, seq .. '-0', 'time', time, 'actor', actor, 'action', action, 'subject', subject,
    'details', details, 'prev', prev, 'hash', hash)
  redis.call('HSET', AUDIT_HEAD, 'seq', seq, 'hash', hash)
  return tonumber(seq)
end
