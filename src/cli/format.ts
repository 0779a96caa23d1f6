const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'] as const

/** `0 B`, `1023 B`, `1.50 KiB`, `12.3 MiB`, `987 GiB`: three digits, powers of 1024. */
export function formatBytes(bytes: number): string {
  if (bytes < 0) return `-${formatBytes(-bytes)}`
  let value = bytes
  let unit = 0
  // 1023.5 KiB would be printed as 1024 KiB.
  while (unit < BYTE_UNITS.length - 1 && (unit === 0 ? value >= 1024 : value >= 1023.5)) {
    value /= 1024
    unit += 1
  }
  if (unit === 0) return `${Math.round(value)} B`
  const decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0
  return `${value.toFixed(decimals)} ${BYTE_UNITS[unit]}`
}

/** Average over a time in milliseconds: `12.3 MiB/s`. */
export function formatRate(bytes: number, milliseconds: number): string {
  return `${formatBytes(milliseconds > 0 ? (bytes * 1000) / milliseconds : 0)}/s`
}

/** `12 ms`, `3.4 s`, `42 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 0) return `-${formatDuration(-milliseconds)}`
  if (milliseconds < 999.5) return `${Math.round(milliseconds)} ms`
  if (milliseconds < 9_950) return `${(milliseconds / 1000).toFixed(1)} s`
  const seconds = Math.round(milliseconds / 1000)
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`
  const minutes = Math.round(seconds / 60)
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`
  const hours = Math.round(minutes / 60)
  return `${Math.floor(hours / 24)} d ${hours % 24} h`
}

/** `130,000`, of a whole number. `Intl` takes 19 ms to load for that. */
export function formatCount(count: number | bigint): string {
  return String(count).replace(/\B(?=(?:\d{3})+$)/g, ',')
}

/** `1 file`, `1,234 files`, `3 entries`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`
}

/** `37%`; never `100%` before all is done. */
export function formatPercent(done: number, total: number): string {
  if (total <= 0) return '100%'
  return done >= total ? '100%' : `${Math.max(0, Math.min(99, Math.floor((done / total) * 100)))}%`
}

const twoDigits = (value: number) => String(value).padStart(2, '0')

/** `2026-11-01 02:00:00`, in the zone of the process. */
export function formatDate(date: Date): string {
  return `${date.getFullYear()}-${twoDigits(date.getMonth() + 1)}-${twoDigits(date.getDate())} ${formatTime(date)}`
}

/** `02:00:00`, in the zone of the process. */
export function formatTime(date: Date): string {
  return `${twoDigits(date.getHours())}:${twoDigits(date.getMinutes())}:${twoDigits(date.getSeconds())}`
}

const AGES = [
  [60, 'second'],
  [60, 'minute'],
  [24, 'hour'],
  [7, 'day'],
  [30.44 / 7, 'week'],
  [12, 'month'],
  [Number.POSITIVE_INFINITY, 'year'],
] as const

/** `just now`, `5 minutes ago`, `3 weeks ago`, `in 2 hours`. Rounded down: an age is never overstated. */
export function formatRelative(date: Date, now: Date): string {
  const seconds = (now.getTime() - date.getTime()) / 1000
  let value = Math.abs(seconds)
  if (value < 10) return 'just now'
  for (const [size, unit] of AGES) {
    if (value < size) {
      const text = counted(Math.max(1, Math.floor(value)), unit)
      return seconds > 0 ? `${text} ago` : `in ${text}`
    }
    value /= size
  }
  return formatDate(date)
}

/** The first 8 digits, as restic shows them. */
export function shortId(id: string): string {
  return id.slice(0, 8)
}
