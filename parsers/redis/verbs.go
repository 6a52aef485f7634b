package redis

// verbKind is the strength of a verb alone.
type verbKind uint8

const (
	unknownVerb verbKind = iota
	ownVerb              // no other text protocol has it
	firstVerb            // Redis, when a client begins with it
	counterVerb          // memcached's too, with another number of words
	sharedVerb           // memcached's or others' too
)

// kindOf looks a verb up in any case, without allocating.
func kindOf(verb []byte) verbKind {
	var up [maxVerb]byte
	if len(verb) > len(up) {
		return unknownVerb
	}
	return verbs[string(upper(up[:0], verb))]
}

// upper appends verb in upper case.
func upper(out, verb []byte) []byte {
	for _, c := range verb {
		if c >= 'a' && c <= 'z' {
			c -= 0x20
		}
		out = append(out, c)
	}
	return out
}

// errorWords begin errors that only a Redis server sends; others send ERR, too.
var errorWords = map[string]bool{"NOAUTH": true, "WRONGPASS": true, "WRONGTYPE": true, "MOVED": true, "ASK": true, "LOADING": true,
	"BUSY": true, "NOSCRIPT": true, "READONLY": true, "DENIED": true, "NOPERM": true, "EXECABORT": true, "MISCONF": true, "OOM": true,
	"CROSSSLOT": true, "CLUSTERDOWN": true, "TRYAGAIN": true, "NOREPLICAS": true, "MASTERDOWN": true, "NOPROTO": true,
	"BUSYGROUP": true, "BUSYKEY": true, "NOGROUP": true, "UNKILLABLE": true, "NOTBUSY": true, "INPROG": true, "NOGOODSLAVE": true}

var verbs = map[string]verbKind{
	"PING": firstVerb, "INFO": firstVerb, "AUTH": firstVerb, "SELECT": firstVerb, "HELLO": firstVerb, "COMMAND": firstVerb,
	"GET": sharedVerb, "SET": sharedVerb, "QUIT": sharedVerb, "ECHO": sharedVerb, "TIME": sharedVerb, "APPEND": sharedVerb,
	"SAVE": sharedVerb, "TYPE": sharedVerb, "MOVE": sharedVerb, "COPY": sharedVerb, "TOUCH": sharedVerb, "SORT": sharedVerb,
	"EVAL": sharedVerb, "SCAN": sharedVerb, "DUMP": sharedVerb, "RESET": sharedVerb, "SHUTDOWN": sharedVerb, "SYNC": sharedVerb,
	"WATCH": sharedVerb, "EXEC": sharedVerb, "ROLE": sharedVerb, "WAIT": sharedVerb, "DEBUG": sharedVerb, "ACL": sharedVerb,
	"MODULE": sharedVerb, "MEMORY": sharedVerb, "OBJECT": sharedVerb, "RENAME": sharedVerb, "SCRIPT": sharedVerb, "MULTI": sharedVerb,
	"DISCARD": sharedVerb, "KEYS": sharedVerb, "SUBSCRIBE": sharedVerb, "PUBLISH": sharedVerb, "UNSUBSCRIBE": sharedVerb,
	"CONFIG": sharedVerb, "CLIENT": sharedVerb, "CLUSTER": sharedVerb, "MONITOR": sharedVerb, "FAILOVER": sharedVerb, "FUNCTION": sharedVerb,
	"INCR": counterVerb, "DECR": counterVerb,
	"DEL": ownVerb, "EXISTS": ownVerb, "EXPIRE": ownVerb, "EXPIREAT": ownVerb, "PEXPIRE": ownVerb, "PEXPIREAT": ownVerb, "TTL": ownVerb,
	"PTTL": ownVerb, "PERSIST": ownVerb, "UNLINK": ownVerb, "RANDOMKEY": ownVerb, "RENAMENX": ownVerb, "INCRBY": ownVerb,
	"DECRBY": ownVerb, "INCRBYFLOAT": ownVerb, "GETSET": ownVerb, "GETDEL": ownVerb, "GETEX": ownVerb, "GETRANGE": ownVerb, "SETRANGE": ownVerb,
	"SETEX": ownVerb, "PSETEX": ownVerb, "SETNX": ownVerb, "MGET": ownVerb, "MSET": ownVerb, "MSETNX": ownVerb, "STRLEN": ownVerb,
	"SETBIT": ownVerb, "GETBIT": ownVerb, "BITCOUNT": ownVerb, "BITOP": ownVerb, "BITPOS": ownVerb, "BITFIELD": ownVerb,
	"HSET": ownVerb, "HGET": ownVerb, "HMSET": ownVerb, "HMGET": ownVerb, "HGETALL": ownVerb, "HDEL": ownVerb, "HEXISTS": ownVerb, "HINCRBY": ownVerb,
	"HINCRBYFLOAT": ownVerb, "HKEYS": ownVerb, "HVALS": ownVerb, "HLEN": ownVerb, "HSCAN": ownVerb, "HSETNX": ownVerb, "HSTRLEN": ownVerb,
	"LPUSH": ownVerb, "RPUSH": ownVerb, "LPUSHX": ownVerb, "RPUSHX": ownVerb, "LPOP": ownVerb, "RPOP": ownVerb, "LLEN": ownVerb, "LRANGE": ownVerb,
	"LINDEX": ownVerb, "LSET": ownVerb, "LREM": ownVerb, "LTRIM": ownVerb, "LINSERT": ownVerb, "BLPOP": ownVerb, "BRPOP": ownVerb,
	"BRPOPLPUSH": ownVerb, "RPOPLPUSH": ownVerb, "LMOVE": ownVerb, "BLMOVE": ownVerb, "LPOS": ownVerb,
	"SADD": ownVerb, "SREM": ownVerb, "SMEMBERS": ownVerb, "SISMEMBER": ownVerb, "SMISMEMBER": ownVerb, "SCARD": ownVerb, "SPOP": ownVerb,
	"SRANDMEMBER": ownVerb, "SINTER": ownVerb, "SINTERSTORE": ownVerb, "SUNION": ownVerb, "SUNIONSTORE": ownVerb, "SDIFF": ownVerb,
	"SDIFFSTORE": ownVerb, "SSCAN": ownVerb, "SMOVE": ownVerb,
	"ZADD": ownVerb, "ZREM": ownVerb, "ZRANGE": ownVerb, "ZRANGEBYSCORE": ownVerb, "ZREVRANGE": ownVerb, "ZREVRANGEBYSCORE": ownVerb, "ZRANGEBYLEX": ownVerb,
	"ZCARD": ownVerb, "ZCOUNT": ownVerb, "ZSCORE": ownVerb, "ZRANK": ownVerb, "ZREVRANK": ownVerb, "ZINCRBY": ownVerb, "ZSCAN": ownVerb,
	"ZREMRANGEBYSCORE": ownVerb, "ZREMRANGEBYRANK": ownVerb, "ZPOPMIN": ownVerb, "ZPOPMAX": ownVerb, "BZPOPMIN": ownVerb, "BZPOPMAX": ownVerb,
	"ZUNIONSTORE": ownVerb, "ZINTERSTORE": ownVerb, "ZMSCORE": ownVerb,
	"PFADD": ownVerb, "PFCOUNT": ownVerb, "PFMERGE": ownVerb, "GEOADD": ownVerb, "GEODIST": ownVerb, "GEOPOS": ownVerb, "GEORADIUS": ownVerb,
	"GEOSEARCH": ownVerb, "XADD": ownVerb, "XRANGE": ownVerb, "XREVRANGE": ownVerb, "XREAD": ownVerb, "XREADGROUP": ownVerb, "XACK": ownVerb,
	"XLEN": ownVerb, "XDEL": ownVerb, "XGROUP": ownVerb, "XTRIM": ownVerb, "XPENDING": ownVerb, "XCLAIM": ownVerb, "XAUTOCLAIM": ownVerb, "XINFO": ownVerb,
	"EVALSHA": ownVerb, "FCALL": ownVerb, "PSUBSCRIBE": ownVerb, "PUNSUBSCRIBE": ownVerb, "SSUBSCRIBE": ownVerb, "SPUBLISH": ownVerb, "PUBSUB": ownVerb,
	"UNWATCH": ownVerb, "FLUSHALL": ownVerb, "FLUSHDB": ownVerb, "DBSIZE": ownVerb, "BGSAVE": ownVerb, "BGREWRITEAOF": ownVerb, "LASTSAVE": ownVerb,
	"SLOWLOG": ownVerb, "LATENCY": ownVerb, "SLAVEOF": ownVerb, "REPLICAOF": ownVerb, "REPLCONF": ownVerb, "PSYNC": ownVerb, "READONLY": ownVerb,
	"LMPOP": ownVerb, "BLMPOP": ownVerb, "ZMPOP": ownVerb, "BZMPOP": ownVerb, "SINTERCARD": ownVerb, "ZINTERCARD": ownVerb, "ZINTER": ownVerb,
	"ZUNION": ownVerb, "ZDIFF": ownVerb, "ZDIFFSTORE": ownVerb, "ZRANDMEMBER": ownVerb, "ZRANGESTORE": ownVerb, "ZLEXCOUNT": ownVerb,
	"ZREMRANGEBYLEX": ownVerb, "ZREVRANGEBYLEX": ownVerb, "HRANDFIELD": ownVerb, "GEOHASH": ownVerb, "GEORADIUSBYMEMBER": ownVerb,
	"GEORADIUS_RO": ownVerb, "GEORADIUSBYMEMBER_RO": ownVerb, "GEOSEARCHSTORE": ownVerb, "LCS": ownVerb, "SUBSTR": ownVerb, "BITFIELD_RO": ownVerb,
	"EXPIRETIME": ownVerb, "PEXPIRETIME": ownVerb, "SORT_RO": ownVerb, "EVAL_RO": ownVerb, "EVALSHA_RO": ownVerb, "FCALL_RO": ownVerb,
	"XSETID": ownVerb, "LOLWUT": ownVerb, "PFDEBUG": ownVerb, "PFSELFTEST": ownVerb, "RESTORE-ASKING": ownVerb, "SUNSUBSCRIBE": ownVerb,
	"WAITAOF": ownVerb, "HEXPIRE": ownVerb, "HPEXPIRE": ownVerb, "HEXPIREAT": ownVerb, "HPEXPIREAT": ownVerb, "HTTL": ownVerb, "HPTTL": ownVerb,
	"HPERSIST": ownVerb, "HEXPIRETIME": ownVerb, "HPEXPIRETIME": ownVerb, "HGETDEL": ownVerb, "HGETEX": ownVerb, "HSETEX": ownVerb,
	"READWRITE": ownVerb, "ASKING": ownVerb, "SENTINEL": ownVerb, "MIGRATE": ownVerb, "RESTORE": ownVerb, "SWAPDB": ownVerb,
}
