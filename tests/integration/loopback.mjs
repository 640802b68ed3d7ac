// Loaded before a server that knows neither: it listens on 127.0.0.1 only, on a free port, and says which.
import net from 'node:net';

const listen = net.Server.prototype.listen;

net.Server.prototype.listen = function (...args) {
  const callback = args.filter((argument) => typeof argument === 'function');
  this.once('listening', () => console.log(`listening on port ${this.address().port}`));
  return listen.call(this, 0, '127.0.0.1', ...callback);
};
