// A central system of the package ocpp-rpc. It prints its port; a line on stdin is a command: "call Reset" calls each
// charge point, and says on stdout what it answered. It ends with its stdin.
'use strict';
const { RPCServer } = require('ocpp-rpc');

const clients = new Set();
const server = new RPCServer({ protocols: ['ocpp1.6'], strictMode: false, callConcurrency: 1 });
server.auth((accept) => accept());
server.on('client', (client) => {
  clients.add(client);
  client.on('close', () => clients.delete(client));
  client.handle('BootNotification', () => (
    { status: 'Accepted', interval: 1, currentTime: new Date().toISOString() }
  ));
  client.handle('Heartbeat', () => {
    console.log('heartbeat');
    return { currentTime: new Date().toISOString() };
  });
});
(async () => {
  const http = await server.listen(0, '127.0.0.1');
  console.log(http.address().port);
})();

let rest = '';
process.stdin.on('data', (data) => {
  const lines = (rest + data).split('\n');
  rest = lines.pop();
  for (const line of lines) {
    const [, action] = line.split(' ');
    for (const client of clients) {
      client.call(action, { type: 'Soft' }).then(
        (answer) => console.log(`answered ${JSON.stringify(answer)}`),
        (error) => console.log(`failed ${error.message}`),
      );
    }
  }
});
process.stdin.on('end', () => process.exit(0));
