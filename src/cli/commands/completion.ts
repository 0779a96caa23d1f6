import { Argument, type Command } from 'commander'
import { addCommand, type CommandModule } from '../command.ts'

const SHELLS = ['bash', 'zsh', 'fish'] as const

export const completionCommand: CommandModule = {
  name: 'completion',
  register(program, context) {
    const command = addCommand(program, {
      usage: 'completion',
      topic: 'program',
      summary: 'write the completions of a shell to standard output',
      description: 'The script knows the commands and options of this version: write it anew after an upgrade.',
      examples: [
        {
          run: 'holdfast completion bash > /etc/bash_completion.d/holdfast',
          does: 'bash, for all users',
        },
        {
          run: 'holdfast completion zsh > /usr/local/share/zsh/site-functions/_holdfast',
          does: 'zsh, for all users',
        },
        {
          run: 'holdfast completion fish > ~/.config/fish/completions/holdfast.fish',
          does: 'fish, for yourself',
        },
      ],
    })
    command.addArgument(new Argument('<shell>', 'which shell').choices([...SHELLS])).action(
      context.action(async ({ io, operands: [shell] }) => {
        const { completionScript, describeTree } = await import('../completion-script.ts')
        io.stdout.write(completionScript(shell as (typeof SHELLS)[number], describeTree(rootOf(command))))
      }),
    )
  },
}

function rootOf(command: Command): Command {
  return command.parent === null ? command : rootOf(command.parent)
}
