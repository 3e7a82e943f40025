// A server of the package socket.io, with recovery of what was missed. It prints its port; a line on stdin is a command:
// "stall eth" stops a channel without a word, "cut" ends all connections as a broken network would. It ends with its stdin.
'use strict';
const { createServer } = require('node:http');
const { Server } = require('socket.io');

const http = createServer();
const io = new Server(http, {
  pingInterval: 100,
  pingTimeout: 2000,
  transports: ['websocket'],
  connectionStateRecovery: { maxDisconnectionDuration: 60_000 },
});
const counts = { btc: 0, eth: 0 };

io.use((socket, next) => {
  next(socket.handshake.auth.token === 'YOUR-TOKEN' ? undefined : new Error('not authorized'));
});
io.on('connection', (socket) => {
  socket.emit('hello', { recovered: socket.recovered });
  socket.on('subscribe', (channel, done) => {
    if (channel in counts) socket.join(channel);
    done(channel in counts ? { ok: true } : { ok: false, error: `no channel ${channel}` });
  });
  socket.on('unsubscribe', (channel) => socket.leave(channel));
});
setInterval(() => {
  for (const channel of Object.keys(counts)) {
    counts[channel] += 1;
    io.to(channel).emit('price', { channel, bid: counts[channel] });
  }
}, 10);
http.listen(0, '127.0.0.1', () => console.log(http.address().port));

const commands = {
  cut: () => { for (const socket of io.sockets.sockets.values()) socket.conn.transport.socket.terminate(); },
  // Those who are in it are so no longer, and are not told.
  stall: (channel) => io.in(channel).socketsLeave(channel),
};
let rest = '';
process.stdin.on('data', (data) => {
  const lines = (rest + data).split('\n');
  rest = lines.pop();
  for (const line of lines) {
    const [command, argument] = line.split(' ');
    commands[command](argument);
  }
});
process.stdin.on('end', () => process.exit(0));
