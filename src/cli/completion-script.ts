import { type Argument, type Command, Help, type Option } from 'commander'

/** What can stand after an option or as an argument, as far as a shell can help. */
type Value =
  | { readonly kind: 'file' | 'folder' | 'any' }
  | { readonly kind: 'choice'; readonly choices: readonly string[] }

export interface CompletionOption {
  /** `-q` and `--quiet`. */
  readonly names: readonly string[]
  readonly description: string
  readonly value: Value | undefined
  readonly repeatable: boolean
}

export interface CompletionNode {
  /** Names below the program: `['key', 'add']`. */
  readonly path: readonly string[]
  readonly description: string
  readonly options: readonly CompletionOption[]
  readonly children: readonly CompletionNode[]
  readonly arguments: readonly Value[]
}

/** The command tree as plain data; options of the program are repeated at every command, for they work there too. */
export function describeTree(program: Command): CompletionNode {
  const shared = visibleOptions(program).filter(
    ({ names }) => !names.includes('--version') && !names.includes('--help'),
  )
  const describe = (command: Command, path: readonly string[]): CompletionNode => {
    const own = visibleOptions(command)
    return {
      path,
      description: command.summary() || command.description(),
      options: path.length === 0 ? own : [...own, ...shared],
      children: command.commands.map((sub) => describe(sub, [...path, sub.name()])),
      arguments: command.registeredArguments.map(argumentValue),
    }
  }
  return describe(program, [])
}

function visibleOptions(command: Command): CompletionOption[] {
  return new Help().visibleOptions(command).map((option) => ({
    names: [option.short, option.long].filter((name) => name !== undefined),
    description: option.description,
    value: option.required || option.optional ? optionValue(option) : undefined,
    repeatable: Array.isArray(option.defaultValue) || typeof option.defaultValue === 'number' || option.variadic,
  }))
}

function optionValue(option: Option): Value {
  if (option.argChoices !== undefined) return { kind: 'choice', choices: option.argChoices }
  return namedValue(/[<[]([^>\]]+)[>\]]/.exec(option.flags)?.[1] ?? '')
}

function argumentValue(argument: Argument): Value {
  if (argument.argChoices !== undefined) return { kind: 'choice', choices: argument.argChoices }
  return namedValue(argument.name())
}

/** The word between the brackets says what it is. */
function namedValue(name: string): Value {
  const word = name.replace(/\.+$/, '')
  if (word === 'dir' || word === 'location' || word === 'target') return { kind: 'folder' }
  return { kind: word === 'file' || word === 'path' ? 'file' : 'any' }
}

export function completionScript(shell: 'bash' | 'zsh' | 'fish', root: CompletionNode): string {
  switch (shell) {
    case 'bash':
      return bashScript(root)
    case 'zsh':
      return zshScript(root)
    case 'fish':
      return fishScript(root)
  }
}

function allNodes(node: CompletionNode): CompletionNode[] {
  return [node, ...node.children.flatMap(allNodes)]
}

const key = (node: CompletionNode) => node.path.join(' ')
const quote = (text: string) => `'${text.replaceAll("'", "'\\''")}'`
const unique = (names: readonly string[]) => [...new Set(names)]

// bash: no dependency on the bash-completion package; 4.4 or newer (mapfile, compopt).

function bashScript(root: CompletionNode): string {
  const nodes = allNodes(root)
  const valueNames = unique(nodes.flatMap(({ options }) => options.filter(hasValue).flatMap(({ names }) => names)))
  const shared = new Set(root.options)
  const cases = nodes.map((node) => {
    const words = [...node.children.map(({ path }) => path.at(-1)!), ...argumentChoices(node)]
    const values = node.options
      .filter(hasValue)
      .filter((option) => node === root || ![...shared].some((other) => other.names.join() === option.names.join()))
      .map((option) => `${option.names.join('|')}) ${bashValue(option.value!)} ;;`)
    const files = node.arguments.find(({ kind }) => kind === 'file' || kind === 'folder')
    return [
      `    ${quote(key(node))})`,
      `      options=${quote(unique(node.options.flatMap(({ names }) => names)).join(' '))}`,
      ...(words.length > 0 ? [`      words=${quote(words.join(' '))}`] : []),
      ...(files === undefined ? [] : [`      files=${files.kind}`]),
      ...(values.length > 0 && node !== root
        ? ['      case $prev in', ...values.map((line) => `        ${line}`), '      esac']
        : []),
      '      ;;',
    ].join('\n')
  })
  const rootValues = root.options
    .filter(hasValue)
    .map((option) => `    ${option.names.join('|')}) ${bashValue(option.value!)} ;;`)
  return `# bash completion for holdfast, written by "holdfast completion bash"

_holdfast_names() {
  # Names of files may hold blanks, so they are read by line.
  mapfile -t COMPREPLY < <(compgen "$1" -- "$cur")
  compopt -o filenames 2>/dev/null
}

_holdfast() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev='' path='' options='' words='' files='' only_operands='' word i
  COMPREPLY=()
  ((COMP_CWORD > 0)) && prev=\${COMP_WORDS[COMP_CWORD - 1]}
  # bash splits --option=value at the equals sign.
  [[ $cur == '=' ]] && cur='' && prev="=$prev"
  [[ $prev == '=' ]] && prev=\${COMP_WORDS[COMP_CWORD - 2]}
  prev=\${prev#=}

  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    case $word in
      --) only_operands=1; prev=''; break ;;
      ${valueNames.join('|')})
        ((i++))
        [[ \${COMP_WORDS[i]} == '=' ]] && ((i++))
        ;;
      -*) ;;
      *)
        case "$path\${path:+ }$word" in
          ${nodes
            .filter(({ path }) => path.length > 0)
            .map((node) => quote(key(node)))
            .join('|')}) path="$path\${path:+ }$word" ;;
        esac
        ;;
    esac
  done

  case $prev in
${rootValues.join('\n')}
  esac
  case $path in
${cases.join('\n')}
  esac

  if [[ $cur == -* && -z $only_operands ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
  elif [[ -n $words ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
  elif [[ $files == folder ]]; then
    _holdfast_names -d
  elif [[ $files == file ]]; then
    _holdfast_names -f
  fi
}

complete -F _holdfast holdfast
`
}

function hasValue({ value }: CompletionOption): boolean {
  return value !== undefined
}

function bashValue(value: Value): string {
  switch (value.kind) {
    case 'file':
      return '_holdfast_names -f; return'
    case 'folder':
      return '_holdfast_names -d; return'
    case 'choice':
      return `mapfile -t COMPREPLY < <(compgen -W ${quote(value.choices.join(' '))} -- "$cur"); return`
    case 'any':
      return 'return'
  }
}

function argumentChoices({ arguments: values }: CompletionNode): string[] {
  return values.flatMap((value) => (value.kind === 'choice' ? value.choices : []))
}

// zsh: one function per command, for `_arguments` starts anew after a subcommand's name.

function zshScript(root: CompletionNode): string {
  return `#compdef holdfast
# zsh completion for holdfast, written by "holdfast completion zsh"

${allNodes(root).map(zshFunction).join('\n\n')}

if [[ $funcstack[1] == _holdfast ]]; then
  _holdfast "$@"
else
  compdef _holdfast holdfast
fi
`
}

function zshName(node: CompletionNode): string {
  return ['_holdfast', ...node.path].join('_').replaceAll('-', '_')
}

function zshFunction(node: CompletionNode): string {
  const specs = node.options.map(zshOption)
  if (node.children.length === 0) {
    const operands = node.arguments.map(
      (value, i) =>
        `${i === node.arguments.length - 1 && value.kind !== 'choice' ? '*' : i + 1}:${zshValue(value, 'argument')}`,
    )
    return [
      `${zshName(node)}() {`,
      '  _arguments -s -S \\',
      ...[...specs, ...operands.map(quote)].map((spec, i, all) => `    ${spec}${i === all.length - 1 ? '' : ' \\'}`),
      '}',
    ].join('\n')
  }
  return [
    `${zshName(node)}() {`,
    '  local curcontext=$curcontext state line',
    '  typeset -A opt_args',
    '  _arguments -s -C \\',
    ...specs.map((spec) => `    ${spec} \\`),
    "    '1: :->command' \\",
    "    '*:: :->arguments'",
    '  case $state in',
    '    command)',
    '      local -a commands=(',
    ...node.children.map(
      (child) => `        ${quote(`${child.path.at(-1)!}:${child.description.replaceAll(':', '\\:')}`)}`,
    ),
    '      )',
    "      _describe -t commands 'command' commands",
    '      ;;',
    '    arguments)',
    '      case $words[1] in',
    ...node.children.map((child) => `        ${child.path.at(-1)!}) ${zshName(child)} ;;`),
    '      esac',
    '      ;;',
    '  esac',
    '}',
  ].join('\n')
}

function zshOption({ names, description, value, repeatable }: CompletionOption): string {
  const text = description.replace(/[[\]:\\]/g, '\\$&')
  const rest = value === undefined ? '' : `:${zshValue(value, 'value')}`
  const excluded = repeatable ? '*' : names.length > 1 ? `(${names.join(' ')})` : ''
  const flags = names.map((name) => (value !== undefined && name.startsWith('--') ? `${name}=` : name))
  const body = quote(`[${text}]${rest}`)
  if (flags.length === 1) return `${excluded === '' ? '' : quote(excluded)}${flags[0]}${body}`
  return `${quote(excluded)}{${flags.join(',')}}${body}`
}

function zshValue(value: Value, label: string): string {
  switch (value.kind) {
    case 'file':
      return 'file:_files'
    case 'folder':
      return 'folder:_files -/'
    case 'choice':
      return `${label}:(${value.choices.join(' ')})`
    case 'any':
      return `${label}: `
  }
}

// fish: one function says which command stands on the line; every completion asks it.

function fishScript(root: CompletionNode): string {
  const nodes = allNodes(root)
  const valueNames = unique(nodes.flatMap(({ options }) => options.filter(hasValue).flatMap(({ names }) => names)))
  return `# fish completion for holdfast, written by "holdfast completion fish"

function __holdfast_path
    set -l path
    set -l skip 0
    for word in (commandline -opc)[2..]
        if test $skip = 1
            set skip 0
            continue
        end
        switch $word
            case ${valueNames.map(quote).join(' ')}
                set skip 1
            case '-*'
            case '*'
                switch (string join ' ' $path $word)
                    case ${nodes
                      .filter(({ path }) => path.length > 0)
                      .map((node) => quote(key(node)))
                      .join(' ')}
                        set -a path $word
                end
        end
    end
    string join ' ' $path
end

function __holdfast_at
    test "$(__holdfast_path)" = "$argv"
end

complete -c holdfast -f
${nodes.flatMap((node) => fishLines(node, node === root)).join('\n')}
`
}

function fishLines(node: CompletionNode, isRoot: boolean): string[] {
  const at = quote(`__holdfast_at ${key(node)}`.trim())
  const files = node.arguments.find(({ kind }) => kind === 'file' || kind === 'folder')
  return [
    ...node.children.map(
      (child) => `complete -c holdfast -n ${at} -a ${child.path.at(-1)!} -d ${fishQuote(child.description)}`,
    ),
    ...node.options.map((option) => `complete -c holdfast -n ${at} ${fishOption(option)}`),
    ...argumentChoices(node).map((choice) => `complete -c holdfast -n ${at} -a ${fishQuote(choice)}`),
    ...(files === undefined || isRoot
      ? []
      : [`complete -c holdfast -n ${at} ${files.kind === 'folder' ? "-a '(__fish_complete_directories)'" : '-F'}`]),
  ]
}

function fishOption({ names, description, value }: CompletionOption): string {
  const flags = names.map((name) => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`)).join(' ')
  const rest =
    value === undefined
      ? ''
      : value.kind === 'file'
        ? ' -r -F'
        : value.kind === 'folder'
          ? " -x -a '(__fish_complete_directories)'"
          : value.kind === 'choice'
            ? ` -x -a ${fishQuote(value.choices.join(' '))}`
            : ' -x'
  return `${flags}${rest} -d ${fishQuote(description)}`
}

function fishQuote(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`
}
