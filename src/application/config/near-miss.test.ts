import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { nearMiss } from './near-miss.ts'

suite('near misses', () => {
  const keys = ['schedule', 'retention', 'repository', 'password-file', 'off-site', 'log']

  test('a slip of the keys finds what was meant', () => {
    assert.equal(nearMiss('shedule', keys), 'schedule')
    assert.equal(nearMiss('retnetion', keys), 'retention')
    assert.equal(nearMiss('repo', keys), 'repository')
    assert.equal(nearMiss('lgo', keys), 'log')
  })

  test('another way to join words finds it too', () => {
    assert.equal(nearMiss('passwordFile', keys), 'password-file')
    assert.equal(nearMiss('offsite', keys), 'off-site')
  })

  test('nothing near finds nothing', () => {
    assert.equal(nearMiss('colour', keys), undefined)
    assert.equal(nearMiss('re', keys), undefined)
    assert.equal(nearMiss('x', []), undefined)
  })
})
