-- Keep what a sink was told, on behalf of the replica that holds the lease, and renew the lease.
-- KEYS: lease, told, standings, outcomes
-- ARGV: holder, lease in ms (0 gives it up), then nothing more, or: life of `told` in ms, sink,
--       standing, number of outcomes, outcome/count pairs..., run/place pairs...
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if not ARGV[3] then return 1 end

redis.call('HSET', KEYS[3], ARGV[4], ARGV[5])
local at = 7
for _ = 1, tonumber(ARGV[6]) do
  redis.call('HINCRBY', KEYS[4], ARGV[4] .. ' ' .. ARGV[at], ARGV[at + 1])
  at = at + 2
end
for i = at, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
