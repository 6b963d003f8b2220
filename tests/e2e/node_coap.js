// A client and a device made with node's `coap` package.  What happens is printed, one JSON object to a line.
//
//   node node_coap.js ask METHOD URI [LINKS]         one request
//   node node_coap.js observe URI                    until standard input ends; then it takes its leave
//   node node_coap.js device URI LINKS PORT          serves LINKS, and sends a POST to URI from the same socket

'use strict'

const coap = require('coap')

const LINK_FORMAT = 'application/link-format'
const BLOCK_1024 = Buffer.of(6)

function request(uri, method, links, options) {
  const { hostname, port, pathname, search } = new URL(uri)
  const asked = coap.request({ hostname, port, pathname, query: search.slice(1), method, ...options })
  if (links !== undefined) {
    asked.setOption('Content-Format', LINK_FORMAT)
    if (links.length > 1024) asked.setOption('Block1', BLOCK_1024)
  }
  asked.on('error', (error) => { console.error(error); process.exit(1) })
  asked.on('timeout', (error) => { console.error(error); process.exit(1) })
  asked.end(links)
  return asked
}

function values(options, name) {
  return options.filter((option) => option.name === name).map((option) => option.value.toString())
}

function show(answer, body) {
  const location = values(answer.options, 'Location-Path').map((segment) => '/' + segment).join('')
  console.log(JSON.stringify({ code: answer.code, location, body: body.toString() }))
}

function ask(method, uri, links) {
  request(uri, method, links).on('response', (answer) => show(answer, answer.payload))
}

function observe(uri) {
  request(uri, 'GET', undefined, { observe: true }).on('response', (stream) => {
    stream.on('data', (body) => show(stream, body))
    process.stdin.on('end', () => {
      stream.close()
      setTimeout(() => process.exit(0), 200) // its farewell is on its way
    })
    process.stdin.resume()
  })
}

function device(uri, links, port) {
  const asked = []
  const server = coap.createServer((question, answer) => {
    asked.push({ method: question.method, url: question.url, accept: question.headers.Accept })
    answer.setOption('Content-Format', LINK_FORMAT)
    answer.end(links)
  })
  server.listen(Number(port), '127.0.0.1', () => {
    const agent = new coap.Agent({ socket: server._sock })
    request(uri, 'POST', undefined, { agent }).on('response', (answer) => {
      console.log(JSON.stringify({ asked }))
      show(answer, answer.payload)
      server.close()
    })
  })
}

const [command, ...rest] = process.argv.slice(2)
const commands = { ask, observe, device }
commands[command](...rest)
