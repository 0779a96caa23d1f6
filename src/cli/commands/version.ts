import { VERSION } from '../../operations/version.ts'
import { addCommand, type CommandModule } from '../command.ts'
import { versionText } from '../version.ts'

export const versionCommand: CommandModule = {
  name: 'version',
  register(program, context) {
    addCommand(program, {
      usage: 'version',
      topic: 'program',
      summary: 'show the version and the runtime',
      examples: [{ run: 'holdfast version --json', does: 'For a script' }],
    }).action(
      context.action(async ({ screen, globals }) => {
        if (!globals.json) return screen.print(versionText())
        screen.json({
          message_type: 'version',
          version: VERSION,
          node_version: process.versions.node,
          platform: process.platform,
          arch: process.arch,
        })
      }),
    )
  },
}
