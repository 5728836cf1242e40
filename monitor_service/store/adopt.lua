-- Make a draft a run, unless there is one of this id.
-- KEYS: run, settings, then of the draft: series, states, and more; then of the run the same keys.
-- ARGV: settings, bytes of the series, then name/value pairs for the run's hash.
if redis.call('EXISTS', KEYS[1]) == 1 then return 'exists' end
if redis.call('STRLEN', KEYS[3]) ~= tonumber(ARGV[2]) then return 'lost' end
if redis.call('EXISTS', KEYS[4]) == 0 then return 'lost' end

local count = (#KEYS - 2) / 2
for i = 3, 2 + count do
  redis.call('DEL', KEYS[i + count])
  if redis.call('EXISTS', KEYS[i]) == 1 then
    redis.call('RENAME', KEYS[i], KEYS[i + count])
    redis.call('PERSIST', KEYS[i + count])
  end
end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
return 'written'
