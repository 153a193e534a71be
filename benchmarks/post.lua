-- For wrk: send the requests of a file in turn, one JSON body a line, and print the figures as JSON at the end.
local requests = {}
local last = 0

function init()
  for body in io.lines(os.getenv("BODIES")) do
    requests[#requests + 1] = wrk.format("POST", nil, {["Content-Type"] = "application/json"}, body)
  end
end

function request()
  last = last % #requests + 1
  return requests[last]
end

function done(summary, latency)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{"answers": %d, "rate": %.1f, "p50_ms": %.2f, "p99_ms": %.2f, "longest_ms": %.2f, "errors": %d}\n',
    summary.requests - errors.status, summary.requests / summary.duration * 1e6, latency:percentile(50) / 1000,
    latency:percentile(99) / 1000, latency.max / 1000,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout
  ))
end
