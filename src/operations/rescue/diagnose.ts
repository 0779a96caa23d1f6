import type { ComponentChanges, Situation } from './situation.ts'

/** The smallest that can help, each a command of its own. */
export type Playbook =
  /** What was begun and is not at its end, by its name. */
  | { readonly kind: 'again'; readonly operation: string; readonly words: readonly string[] }
  | { readonly kind: 'service' }
  | { readonly kind: 'database'; readonly path: string }
  | {
      readonly kind: 'component'
      readonly names: readonly string[]
      readonly install: boolean
      /** Undefined: the newest good one. */
      readonly snapshot: string | undefined
      /** The live ones stay: no key here opens those of the snapshot. */
      readonly withoutSecrets: boolean
    }
  | { readonly kind: 'secrets' }
  | { readonly kind: 'server' }

export interface Trouble {
  readonly code:
    | 'unfinished'
    | 'disk-full'
    | 'port-taken'
    | 'application-gone'
    | 'database-damaged'
    | 'secrets-missing'
    | 'files-missing'
    | 'service-down'
    | 'unhealthy'
    | 'web-server'
    | 'no-repository'
  /** One sentence, without a full stop. */
  readonly message: string
  /** What to do about it, where no playbook does it. */
  readonly hint?: string
}

export interface Proposal {
  readonly playbook: Playbook
  /** Why this and not another, one sentence. */
  readonly why: string
}

export interface Diagnosis {
  /** Worst first; none: nothing seems to be wrong. */
  readonly troubles: readonly Trouble[]
  /** Undefined: nothing is wrong, or first something must be put right by hand. */
  readonly proposal: Proposal | undefined
  /** What is next when that does not help, smallest first. */
  readonly next: readonly Proposal[]
}

/** Names the likely trouble, and the smallest playbook that can help. Reads nothing. */
export function diagnose(situation: Situation): Diagnosis {
  const troubles = [
    ...unfinished(situation),
    ...byHand(situation),
    ...lost(situation),
    ...databases(situation),
    ...secrets(situation),
    ...files(situation),
    ...service(situation),
    ...webServer(situation),
    ...repository(situation),
  ]
  const proposals = troubles.flatMap(({ proposals = [] }) => proposals)
  const isBlockedByHand = troubles.some(({ trouble }) => BY_HAND.has(trouble.code))
  const [first, ...rest] = unique(proposals.filter(({ playbook }) => isPossible(playbook, situation)))
  // What may be half replaced is brought to its end before anything else.
  const isBlocked = isBlockedByHand || (situation.unfinished !== undefined && first?.playbook.kind !== 'again')
  return {
    troubles: troubles.map(({ trouble }) => trouble),
    proposal: isBlocked ? undefined : first,
    next: isBlocked && first !== undefined ? [first, ...rest] : rest,
  }
}

interface Found {
  readonly trouble: Trouble
  readonly proposals?: readonly Proposal[]
}

/** What no playbook puts right, and what keeps each of them from helping. */
const BY_HAND: ReadonlySet<Trouble['code']> = new Set(['disk-full', 'port-taken'])

function unfinished({ unfinished: run }: Situation): Found[] {
  if (run === undefined) return []
  const { operation, begun, failed, isGoingBack, words, elsewhere } = run
  const how = isGoingBack
    ? 'was cut off while it was taken back'
    : failed === undefined
      ? 'was cut off'
      : `stopped when "${failed}" failed`
  return [
    {
      trouble: {
        code: 'unfinished',
        message: `\`${operation}\`, begun ${moment(begun)}, ${how}: files may be half replaced`,
        ...(elsewhere === undefined
          ? {}
          : { hint: `Go on with the repository that it was begun with: holdfast -r ${elsewhere} rescue` }),
      },
      proposals: [
        {
          playbook: { kind: 'again', operation, words },
          why: isGoingBack
            ? 'It goes on with that: what was there before comes back.'
            : 'It goes on where it stopped; with --rollback, what was there before comes back when it fails again.',
        },
      ],
    },
  ]
}

function byHand({ space, portTakenBy }: Situation): Found[] {
  const full = space.filter(({ isFull }) => isFull)
  return [
    ...full.map(({ path }) => ({
      trouble: {
        code: 'disk-full' as const,
        message: `The disk that holds ${path} is full`,
        hint: `Free some room first, nothing else can help before: du -xh ${path} | sort -h | tail; what earlier rescues have kept is called NAME.before-TIME`,
      },
    })),
    ...(portTakenBy === undefined
      ? []
      : [
          {
            trouble: {
              code: 'port-taken' as const,
              message: `Port ${portTakenBy.port} of the application is taken by ${whoIs(portTakenBy)}`,
              hint: `Stop that first${portTakenBy.pid === undefined ? '' : `: see \`ps -fp ${portTakenBy.pid}\``}; it may be a second copy of the application that its manager does not know`,
            },
          },
        ]),
  ]
}

function whoIs({ pid, command }: NonNullable<Situation['portTakenBy']>): string {
  return pid === undefined ? 'another process' : `process ${pid} (${command})`
}

const WHOLE: Proposal = {
  playbook: { kind: 'server' },
  why: 'All of it comes back from the repository; what is there is kept.',
}

function isLost({ root, changes }: Situation): boolean {
  return !root.isThere || (changes !== undefined && changes.length > 1 && changes.every(({ isGone }) => isGone))
}

function lost(situation: Situation): Found[] {
  if (!isLost(situation)) return []
  const { root } = situation
  const message = root.isThere ? `Nothing of the application is left in ${root.path}` : `${root.path} is gone`
  return [{ trouble: { code: 'application-gone', message }, proposals: [WHOLE] }]
}

function databases(situation: Situation): Found[] {
  if (isLost(situation)) return []
  const goneData = new Set((situation.changes ?? []).filter(({ isGone }) => isGone).map(({ name }) => name))
  const found = situation.databases.filter(({ trouble }) => trouble !== 'sound')
  // Where its whole component is gone, it comes back with that.
  if (goneData.size > 0 && found.every(({ trouble }) => trouble === 'missing')) return []
  return found.map(({ path, seen }) => ({
    trouble: { code: 'database-damaged', message: `The database ${path} is damaged: ${seen}` },
    proposals: [
      {
        playbook: { kind: 'database', path },
        why: 'Recovered or from the snapshot, whichever loses fewer rows; the original is kept.',
      },
    ],
  }))
}

function secrets(situation: Situation): Found[] {
  const { secrets: known } = situation
  if (isLost(situation) || known === undefined || known.missing.length === 0) return []
  const { missing, key } = known
  const more = missing.length === 1 ? '' : ` and ${missing.length - 1} more`
  return [
    {
      trouble: {
        code: 'secrets-missing',
        message: `Secrets are missing: ${missing[0]}${more}`,
        ...(key === 'here' ? {} : { hint: 'The private key is needed: gpg --import FILE, or --identity FILE (age)' }),
      },
      proposals: [
        {
          playbook: { kind: 'secrets' },
          why: 'They are unsealed and put back; no other file is touched, no other secret either.',
        },
      ],
    },
  ]
}

function files(situation: Situation): Found[] {
  const lacking = (situation.changes ?? []).filter(({ missing, isGone, kind }) => {
    return (missing > 0 || isGone) && kind !== 'secrets'
  })
  if (isLost(situation) || lacking.length === 0) return []
  const amounts = lacking.map(({ name, isGone, missing, files: [first] }) => {
    if (isGone) return `all of ${name}`
    return `${missing} of ${name}${first === undefined ? '' : ` (${first.path}${missing > 1 ? ', …' : ''})`}`
  })
  return [
    {
      trouble: { code: 'files-missing', message: `Files are missing: ${amounts.join('; ')}` },
      proposals: [bringBack(lacking, situation)],
    },
  ]
}

/** Together with what was changed, where it does not start for that reason either. */
function bringBack(lacking: readonly ComponentChanges[], situation: Situation): Proposal {
  const others = gaveUp(situation) === undefined ? [] : suspects(situation).filter((each) => !lacking.includes(each))
  const names = others.map(({ name }) => name).join(', ')
  return rollBack(
    [...lacking, ...others],
    others.length === 0
      ? 'They come back from the snapshot, and nothing else changes.'
      : `They come back from the snapshot, and with them what was changed in ${names}. ${gaveUp(situation)}.`,
    situation,
  )
}

function rollBack(components: readonly ComponentChanges[], why: string, { secrets: known }: Situation): Proposal {
  const install = components.some(({ dependencies }) => dependencies)
  const names = components.map(({ name }) => name)
  const withoutSecrets = known?.key === 'missing' && components.some(({ holdsSecrets }) => holdsSecrets)
  const stay = withoutSecrets
    ? ' Their secrets stay as they are: the key that opens those of the snapshot is not here.'
    : ''
  return { playbook: { kind: 'component', names, install, snapshot: undefined, withoutSecrets }, why: why + stay }
}

function service(situation: Situation): Found[] {
  const { service: known, checks } = situation
  if (isLost(situation) || known === undefined) return []
  const isDown = known.state === 'stopped' || known.state === 'failed' || known.state === 'absent'
  const failed = checks.find(({ passed }) => !passed)
  if (!isDown && failed === undefined) return []
  const message = isDown
    ? `${known.name} is ${known.state}`
    : `The application is not well: ${failed!.subject}: ${failed!.detail}`
  const restart: Proposal = { playbook: { kind: 'service' }, why: 'A restart is the smallest that can help.' }
  const why = gaveUp(situation)
  const larger = afterRestart(situation)
  return [
    {
      trouble: { code: isDown ? 'service-down' : 'unhealthy', message },
      // Of what fails by itself another start is no use where something has changed that may be why.
      proposals: why !== undefined && larger.length > 0 ? [...larger, restart, WHOLE] : [restart, ...larger, WHOLE],
    },
  ]
}

/** Its configuration is a component of its own. */
function webServer(situation: Situation): Found[] {
  const { webServer: known, changes = [] } = situation
  if (known === undefined || (known.isRunning && known.problem === undefined)) return []
  const changed = changes.filter(
    ({ kind, missing, changed: some, added }) => kind === 'nginx' && missing + some + added > 0,
  )
  const { problem } = known
  return [
    {
      trouble: {
        code: 'web-server',
        message: problem === undefined ? 'nginx does not run' : `nginx does not accept its configuration: ${problem}`,
        ...(changed.length === 0 ? { hint: problem === undefined ? 'systemctl start nginx' : 'nginx -t' } : {}),
      },
      proposals:
        changed.length === 0
          ? []
          : [
              rollBack(
                changed,
                'Its configuration comes back from the snapshot, is tested, and nginx takes it.',
                situation,
              ),
            ],
    },
  ]
}

/** Why another start alone is of no use; undefined: it may be. */
function gaveUp({ service: known, restartedInVain }: Situation): string | undefined {
  if (restartedInVain !== undefined) return `A restart at ${moment(restartedInVain.at)} did not help`
  if (known?.keepsFailing !== true) return undefined
  return `${known.name} ${known.state === 'failed' ? 'has failed by itself' : 'starts again and again'}`
}

/** What has been changed is the likely cause, the newest first. */
function suspects({ changes = [] }: Situation): ComponentChanges[] {
  return changes
    .filter(({ isData, kind, changed, added }) => {
      return !isData && kind !== 'secrets' && kind !== 'nginx' && changed + added > 0
    })
    .toSorted((a, b) => (b.last?.getTime() ?? 0) - (a.last?.getTime() ?? 0))
}

function afterRestart(situation: Situation): Proposal[] {
  const because = gaveUp(situation)
  const begin = because === undefined ? '' : `${because}, and `
  const found = suspects(situation)
  if (found.length > 0) {
    const names = found.map(({ name }) => name).join(', ')
    const why = `${begin}${names} changed since the newest snapshot: rolled back, the application is as it was then.`
    return [rollBack(found, why, situation)]
  }
  const { older } = situation
  if (older === undefined) return []
  const names = older.components.join(', ')
  const why = `${begin}${names} changed before the newest snapshot was made: this one of ${moment(older.time)} is older.`
  return [
    {
      playbook: {
        kind: 'component',
        names: older.components,
        install: false,
        snapshot: older.id,
        withoutSecrets: situation.secrets?.key === 'missing',
      },
      why,
    },
  ]
}

function repository({ repository: { location, problem }, service: known, unfinished: run }: Situation): Found[] {
  if (problem === undefined) return []
  return [
    {
      trouble: {
        code: 'no-repository',
        message: `The repository at ${location} cannot be asked: ${problem}`,
        hint: `${known === undefined || run !== undefined ? 'Nothing' : 'Nothing but a restart'} is possible without it: another copy is named with -r`,
      },
    },
  ]
}

/** Without a repository only a restart is, and nothing can be rolled back to a snapshot that is not there. */
function isPossible({ kind }: Playbook, { repository: { problem }, newest }: Situation): boolean {
  if (kind === 'service') return true
  if (problem !== undefined) return false
  return kind === 'again' || kind === 'database' || newest !== undefined
}

function unique(proposals: readonly Proposal[]): Proposal[] {
  const seen = new Set<string>()
  return proposals.filter(({ playbook }) => {
    const key = JSON.stringify(playbook)
    if (seen.has(key)) return false
    seen.add(key)
    return true
  })
}

function moment(at: Date | string): string {
  return `${new Date(at).toISOString().slice(0, 16).replace('T', ' ')} UTC`
}
