import type { Observer, OperationEvent } from './event.ts'

/**
 * Hands on at most one `progress` in `milliseconds`, and every other event. The last progress before another event is
 * never lost, so that a phase ends with its true numbers. Needs no timer: nothing is left running when an operation dies.
 *
 * @param now milliseconds of a clock that does not jump
 */
export function throttleProgress(
  observe: Observer,
  milliseconds: number,
  now: () => number = () => performance.now(),
): Observer {
  let last = Number.NEGATIVE_INFINITY
  let held: OperationEvent | undefined
  return (event) => {
    if (event.type !== 'progress') {
      if (held !== undefined) {
        const progress = held
        held = undefined
        observe(progress)
      }
      // A new phase shows its first numbers at once.
      if (event.type === 'phase') last = Number.NEGATIVE_INFINITY
      observe(event)
      return
    }
    const time = now()
    if (time - last < milliseconds) {
      held = event
      return
    }
    last = time
    held = undefined
    observe(event)
  }
}
