-- wrk: posts the file that BODY names, with a new call id in the place that is left for it.
local file = assert(io.open(os.getenv("BODY"), "rb"))
local body = file:read("*a")
file:close()
local at, to = body:find(os.getenv("PLACE"), 1, true)
local head, tail = body:sub(1, at - 1), body:sub(to + 1)
local headers = {["Content-Type"] = "application/json", ["X-Vapi-Secret"] = os.getenv("SECRET")}
local n = 0
request = function()
  n = n + 1
  return wrk.format("POST", nil, headers, head .. string.format("%036d", n) .. tail)
end
