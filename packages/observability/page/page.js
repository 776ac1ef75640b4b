// Draws what the server tells, twice a second. Everything that is read is kept for a minute, and pausing only stops the
// drawing: no minute is missing afterwards.
const minute = 60_000
const shownEvents = 100
const byId = (id) => document.getElementById(id)

let chosen
let paused = false
let latest
let lastSeen = 0
const history = new Map()
const happenings = []

// ---------------------------------------------------------------------------------------------------------------------
// Numbers with units
// ---------------------------------------------------------------------------------------------------------------------

const whole = new Intl.NumberFormat("en")
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 })
const count = (n) => (n < 100_000 ? whole.format(Math.round(n)) : compact.format(n))

/** [number, unit] */
const time = (millis) => {
  if (millis < 1) return [whole.format(Math.round(millis * 1000)), "µs"]
  if (millis < 1000) return [whole.format(Math.round(millis)), "ms"]
  return millis < minute * 2 ? [(millis / 1000).toFixed(1), "s"] : [whole.format(Math.round(millis / minute)), "min"]
}

const size = (bytes) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"]
  const power = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), units.length - 1)
  const value = bytes / 1024 ** power
  return [value < 10 && power > 0 ? value.toFixed(1) : whole.format(Math.round(value)), units[power]]
}

const write = (id, value, unit) => {
  const element = byId(id)
  const text = unit === undefined ? value : `${value} ${unit}`
  if (element.textContent === text) return
  element.textContent = value
  if (unit === undefined) return
  const small = document.createElement("small")
  small.textContent = unit
  element.append(" ", small)
}

// ---------------------------------------------------------------------------------------------------------------------
// What is kept
// ---------------------------------------------------------------------------------------------------------------------

const remember = (message) => {
  if (message.now < (latest?.now ?? 0)) history.clear()
  latest = message
  for (const pool of message.pools) {
    const kept = history.get(pool.name) ?? []
    // A server that was started anew counts from zero.
    if (kept.length > 0 && kept[kept.length - 1].acquired > pool.acquired) kept.length = 0
    kept.push({ at: message.now, acquired: pool.acquired, waiting: pool.waiting, waits: pool.waits })
    // One more than a minute, so that the first rate has a predecessor.
    while (kept.length > 2 && kept[1].at < message.now - minute) kept.shift()
    history.set(pool.name, kept)
  }
  for (const [name, kept] of history) {
    if (kept[kept.length - 1].at < message.now - minute) history.delete(name)
  }
  for (const happening of message.happenings) {
    if (happening.id <= lastSeen) continue
    lastSeen = happening.id
    const known = happenings.findIndex(({ first }) => first === happening.first)
    if (known >= 0) happenings.splice(known, 1)
    happenings.unshift(happening)
  }
  happenings.length = Math.min(happenings.length, shownEvents)
}

// ---------------------------------------------------------------------------------------------------------------------
// What is drawn
// ---------------------------------------------------------------------------------------------------------------------

const draw = () => {
  if (latest === undefined) return
  const pool = latest.pools.find(({ name }) => name === chosen) ?? latest.pools[0]
  if (pool === undefined) return say("wait", "No pool at the moment")
  pick(latest.pools, pool.name)
  const kept = history.get(pool.name)
  drawStatus(pool)
  drawConnections(pool)
  drawThroughput(kept)
  drawWaits(kept)
  drawTotals(pool)
  drawLanes(latest.lanes)
  drawEvents(pool.name)
}

const pick = (pools, name) => {
  byId("picker").hidden = pools.length < 2
  byId("name").textContent = pools.length < 2 ? name : ""
  document.title = `${name} · checkpool`
  const select = byId("pool")
  if (select.options.length !== pools.length || pools.some((pool, i) => select.options[i].value !== pool.name)) {
    select.replaceChildren(...pools.map((pool) => new Option(pool.name, pool.name)))
  }
  select.value = name
}

const say = (level, text) => {
  const status = byId("status")
  // Untouched while it says the same, so that it is not read aloud again.
  if (status.textContent === text) return
  status.textContent = text
  status.dataset.level = level
}

const drawStatus = ({ atCapacity, max, leased, oldestWait, phase, saturated, unavailable, waiting }) => {
  if (unavailable) say("bad", "Down: can't connect to the server")
  else if (phase === "closed") say("warning", "Closed")
  else if (saturated) say("bad", "Saturated: callers are turned away")
  else if (oldestWait >= 1000) say("bad", "Callers wait for seconds")
  else if (atCapacity) say("warning", "The server gives no more connections")
  else if (waiting > 0) say("warning", "Busy: callers wait for a connection")
  else if (leased === max) say("warning", "All connections are in use")
  else say("good", "Fine")
}

const drawConnections = (pool) => {
  const upkeep = pool.checking + pool.resetting + pool.closing
  const scale = Math.max(pool.max, pool.total)
  const parts = { used: pool.leased, idle: pool.idle, connecting: pool.connecting, upkeep }
  for (const [part, n] of Object.entries(parts)) {
    byId("gauge").querySelector(`.${part}`).style.width = `${(100 * n) / scale}%`
    write(part, count(n))
  }
  const label = `${pool.leased} in use, ${pool.idle} idle, ${pool.connecting} connecting, ${pool.waiting} waiting; ${pool.max} at most`
  byId("gauge").setAttribute("aria-label", label)
  write("total", count(pool.total))
  write("max", count(pool.max))
  write("waiting", count(pool.waiting))
  write("oldest", ...time(pool.oldestWait))
  for (const element of document.querySelectorAll(".queue")) element.classList.toggle("busy", pool.waiting > 0)
}

const drawThroughput = (kept) => {
  const rates = kept.slice(1).map(({ acquired, at }, i) => ({
    at,
    value: (1000 * (acquired - kept[i].acquired)) / Math.max(at - kept[i].at, 1)
  }))
  const lately = rates.filter(({ at }) => at > latest.now - 2000)
  write("rate", count(lately.reduce((sum, { value }) => sum + value, 0) / Math.max(lately.length, 1)))
  line("throughput", "rate-top", rates, "/s")
  line(
    "queue",
    "queue-top",
    kept.map(({ at, waiting }) => ({ at, value: waiting })),
    "waiting"
  )
}

/** A line over the last minute, with its greatest value written below it. */
const line = (id, topId, points, unit) => {
  const seen = points.filter(({ at }) => at >= latest.now - minute)
  const highest = Math.max(0, ...seen.map(({ value }) => value))
  const top = Math.max(1, highest)
  const x = (at) => (600 * (1 - (latest.now - at) / minute)).toFixed(1)
  const y = (value) => (158 - (150 * value) / top).toFixed(1)
  const path = seen.map(({ at, value }, i) => `${i === 0 ? "M" : "L"}${x(at)} ${y(value)}`).join("")
  const area = seen.length < 2 ? "" : `${path}L${x(seen[seen.length - 1].at)} 160L${x(seen[0].at)} 160Z`
  const chart = byId(id)
  if (chart.childElementCount === 0) {
    for (const name of ["area", "line"]) {
      const element = document.createElementNS("http://www.w3.org/2000/svg", "path")
      element.setAttribute("class", name)
      chart.append(element)
    }
  }
  chart.children[0].setAttribute("d", area)
  chart.children[1].setAttribute("d", seen.length < 2 ? "" : path)
  write(topId, `at most ${count(highest)} ${unit}`)
}

const drawWaits = (kept) => {
  const first = kept[0].waits
  const last = kept[kept.length - 1].waits
  if (last === null) return
  // JSON has no infinity: the last bound comes as null.
  const within = ({ buckets, count }) => [...buckets.filter(([bound]) => bound !== null).map(([, n]) => n), count]
  const now = within(last)
  const then = kept.length > 1 ? within(first) : now.map(() => 0)
  const upTo = now.map((n, i) => n - then[i])
  const counts = upTo.map((n, i) => n - (upTo[i - 1] ?? 0))
  const total = upTo[upTo.length - 1]
  const bounds = last.buckets.map(([bound]) => bound).filter((bound) => bound !== null)
  const body = byId("waits")
  while (body.rows.length < counts.length) body.append(barRow())
  counts.forEach((n, i) => {
    const row = body.rows[i]
    const bound = bounds[i]
    const reached = bound ?? bounds[bounds.length - 1]
    const label = `${bound === undefined ? "over" : "≤"} ${time(reached * 1000)
      .join(" ")
      .replace(".0 s", " s")}`
    const share = total === 0 ? 0 : n / total
    row.className = n === 0 ? "empty" : reached > 0.1 ? "late" : reached > 0.005 ? "slow" : ""
    row.cells[0].textContent = label
    row.cells[1].firstChild.style.width = `${100 * share}%`
    row.cells[2].textContent = n === 0 ? "0" : `${count(n)} · ${percent(share)}`
  })
}

const percent = (share) =>
  share > 0 && share < 0.001
    ? "<0.1%"
    : share > 0.999 && share < 1
      ? ">99.9%"
      : `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`

const barRow = () => {
  const row = document.createElement("tr")
  const head = document.createElement("th")
  head.scope = "row"
  head.textContent = "–"
  const bar = document.createElement("td")
  bar.append(document.createElement("i"))
  row.append(head, bar, document.createElement("td"))
  return row
}

// As many as there will be, before the first numbers come: so nothing has to move for them.
byId("waits").append(...Array.from({ length: 12 }, barRow))

const drawTotals = (pool) => {
  write("acquired", count(pool.acquired))
  write("reuse", pool.acquired === 0 ? "–" : (100 * pool.reuseRate).toFixed(1), pool.acquired === 0 ? undefined : "%")
  write("timed-out", count(pool.timedOut))
  write("rejected", count(pool.rejected))
  write("opened", count(pool.opened))
  write("failures", count(pool.connectFailures))
}

const drawLanes = (lanes) => {
  byId("lanes").hidden = lanes === null
  if (lanes === null) return
  write("queued", count(lanes.queued))
  write("queued-bytes", ...size(lanes.queuedBytes))
  write("queue-oldest", ...time(lanes.oldest * 1000))
  write("in-flight", count(lanes.inFlight))
  write("batch", lanes.batches === 0 ? "–" : (lanes.batched / lanes.batches).toFixed(1))
  write("bytes", ...size(lanes.bytes))
  if (lanes.operations > 0) write("operation", ...time((1000 * lanes.seconds) / lanes.operations))
  const kinds = Object.entries(lanes.failed)
  const total = kinds.reduce((sum, [, n]) => sum + n, 0)
  const which = kinds.map(([kind, n]) => (n === total ? kind : `${count(n)} ${kind}`)).join(", ")
  write("failed", count(total), total === 0 ? undefined : which)
}

const noEvents = document.querySelector("#events .none")
let drawnEvents = ""
const drawEvents = (name) => {
  const shown = happenings.filter(({ pool }) => pool === name)
  const key = `${name}\n${shown[0]?.id}`
  if (key === drawnEvents) return
  drawnEvents = key
  // Nor those of the pool that was shown before.
  if (shown.length === 0) return byId("events").replaceChildren(noEvents)
  byId("events").replaceChildren(
    ...shown.map(({ at, level, times, what, why }) => {
      const row = document.createElement("tr")
      row.dataset.level = level
      for (const text of [new Date(at).toLocaleTimeString("en-GB"), times === 1 ? what : `${what} ×${times}`, why]) {
        const cell = document.createElement("td")
        cell.textContent = text
        row.append(cell)
      }
      return row
    })
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// What comes in
// ---------------------------------------------------------------------------------------------------------------------

const show = () => {
  if (!paused) draw()
}

byId("pool").addEventListener("change", (event) => {
  chosen = event.target.value
  draw()
})

byId("pause").addEventListener("click", () => {
  paused = !paused
  byId("pause").setAttribute("aria-pressed", String(paused))
  byId("pause").textContent = paused ? "Go on" : "Pause"
  if (!paused) draw()
})

const source = new EventSource(`${location.pathname.replace(/\/$/, "")}/events`)
source.onmessage = ({ data }) => {
  remember(JSON.parse(data))
  show()
}
source.onerror = () => say("bad", "Connection to the program lost, trying again")
// Numbered anew by a program that was started anew.
source.onopen = () => {
  lastSeen = 0
  happenings.length = 0
  drawnEvents = ""
}
