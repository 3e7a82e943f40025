// A server of the packages graphql, graphql-ws and ws. It prints its port; a line on stdin is a command:
// "stall price" and "end price" stop the generators that are there, without a word or properly. It ends with its stdin.
'use strict';
const { buildSchema } = require('graphql');
const { useServer } = require('graphql-ws/use/ws');
const { WebSocketServer } = require('ws');
const { once, EventEmitter } = require('node:events');

const schema = buildSchema(`
  type Price { bid: Float! ask: Float! }
  type Query { unused: String }
  type Subscription { greetings: String! price(symbol: String!): Price! }
`);
const control = new EventEmitter();
control.setMaxListeners(0);

async function* values(name, make) {
  let stalled = false;
  let ended = false;
  control.on(`stall ${name}`, () => { stalled = true; });
  control.on(`end ${name}`, () => { ended = true; });
  for (let n = 1; !ended; n += 1) {
    if (stalled) await once(control, 'never');
    yield { [name]: make(n) };
    await new Promise((done) => setTimeout(done, 10));
  }
}

const roots = {
  subscription: {
    greetings: () => values('greetings', (n) => `hello ${n}`),
    price: () => values('price', (n) => ({ bid: n, ask: n + 0.5 })),
  },
};
const server = new WebSocketServer({ host: '127.0.0.1', port: 0, path: '/graphql' });
useServer({ schema, roots }, server, 50);
server.on('listening', () => console.log(server.address().port));
let rest = '';
process.stdin.on('data', (data) => {
  const lines = (rest + data).split('\n');
  rest = lines.pop();
  lines.forEach((line) => control.emit(line));
});
process.stdin.on('end', () => process.exit(0));
