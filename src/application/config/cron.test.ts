import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { lastDue, parseCron } from './cron.ts'

suite('schedules', () => {
  const right: [string, string][] = [
    ['0 2 * * *', '0 2 * * *'],
    ['  0   2 *  * * ', '0 2 * * *'],
    ['*/15 0-6,20 1,15 JAN-mar MON-FRI', '*/15 0-6,20 1,15 jan-mar mon-fri'],
    ['0 0 29 2 *', '0 0 29 2 *'],
    ['0 0 31 2 1', '0 0 31 2 1'],
    ['0 0 * * 7', '0 0 * * 7'],
    ['@daily', '0 0 * * *'],
  ]
  for (const [text, spelled] of right) {
    test(`"${text}" is understood`, () => assert.equal(parseCron(text), spelled))
  }

  const wrong: [string, string][] = [
    [
      '0 2 * *',
      '"0 2 * *" has 4 fields, expected 5 (minute, hour, day of the month, month, day of the week), as in "0 2 * * *" for 02:00 every day',
    ],
    [
      '0 0 2 * * *',
      '"0 0 2 * * *" has 6 fields, expected 5 (minute, hour, day of the month, month, day of the week), as in "0 2 * * *" for 02:00 every day',
    ],
    [
      'daily',
      '"daily" has 1 field, expected 5 (minute, hour, day of the month, month, day of the week), as in "0 2 * * *" for 02:00 every day',
    ],
    ['0 25 * * *', '"0 25 * * *": hour 25 does not exist, expected 0 to 23'],
    ['60 2 * * *', '"60 2 * * *": minute 60 does not exist, expected 0 to 59'],
    ['0 2 0 * *', '"0 2 0 * *": day of the month 0 does not exist, expected 1 to 31'],
    ['0 2 * 13 *', '"0 2 * 13 *": month 13 does not exist, expected 1 to 12'],
    ['0 2 * * Mondy', '"0 2 * * Mondy": day of the week "Mondy" is unknown, did you mean "mon"?'],
    [
      '0 2 * * x',
      '"0 2 * * x": day of the week "x" is unknown, expected 0 to 7 or one of sun, mon, tue, wed, thu, fri, sat',
    ],
    ['0 5-2 * * *', '"0 5-2 * * *": hour "5-2" runs backwards, expected the smaller value first'],
    ['5/15 * * * *', '"5/15 * * * *": minute "5/15" has a step without a range, write 5-59/15'],
    ['*/0 * * * *', '"*/0 * * * *": minute "*/0" has a step of 0, expected 1 or more'],
    [
      '1,, * * * *',
      '"1,, * * * *": minute "" is not understood, expected a number, a range or *, as in 5, 1-5 or */15',
    ],
    ['0 0 31 2,4 *', '"0 0 31 2,4 *" never comes: no month that it names has that day'],
    ['@dialy', '"@dialy" is not a schedule, expected "@daily"'],
    [
      '@reboot',
      '"@reboot" is not a schedule, expected one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually',
    ],
  ]
  for (const [text, problem] of wrong) {
    test(`"${text}" is refused with what would be right`, () => assert.deepEqual(parseCron(text), { problem }))
  }

  const due: [cron: string, zone: string, now: string, last: string][] = [
    ['0 2 * * *', 'UTC', '2026-11-27T02:00:00Z', '2026-11-27T02:00:00Z'],
    ['0 2 * * *', 'UTC', '2026-11-27T01:59:59Z', '2026-11-26T02:00:00Z'],
    ['0 2 * * *', 'Europe/Berlin', '2026-11-27T01:30:00Z', '2026-11-27T01:00:00Z'],
    ['0 2 * * *', 'America/New_York', '2026-11-27T01:30:00Z', '2026-11-26T07:00:00Z'],
    ['*/15 8-18 * * 1-5', 'UTC', '2026-11-29T12:00:00Z', '2026-11-27T18:45:00Z'],
    ['0 4 * * 7', 'UTC', '2026-11-27T12:00:00Z', '2026-11-22T04:00:00Z'],
    ['0 0 1 * 5', 'UTC', '2026-11-26T12:00:00Z', '2026-11-20T00:00:00Z'],
    ['0 0 1 jan *', 'UTC', '2026-11-26T12:00:00Z', '2026-01-01T00:00:00Z'],
    ['0 0 29 2 *', 'UTC', '2026-11-26T12:00:00Z', '2024-02-29T00:00:00Z'],
    // Clocks go forward at two: what was due then comes an hour later by the clock on the wall. They go back at three.
    ['30 2 * * *', 'Europe/Berlin', '2026-03-29T02:00:00Z', '2026-03-29T01:30:00Z'],
    ['30 2 * * *', 'Europe/Berlin', '2026-10-25T12:00:00Z', '2026-10-25T00:30:00Z'],
  ]
  for (const [cron, zone, now, last] of due) {
    test(`"${cron}" in ${zone} was due before ${now} at ${last}`, () => {
      assert.equal(lastDue(cron, zone, new Date(now))?.toISOString(), new Date(last).toISOString())
    })
  }
})
