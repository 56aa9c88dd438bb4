# Clients that share a server's session through PgBouncer in transaction mode, and sessions that change their role: what
# one client may do is nothing to the next one, although the keys are in the memory they share (cases C-79, C-80).

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Session;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('server', conf => "pg_encrypt.compress = off");
$node->safe_psql('postgres', q{
	create role regress_pool login noinherit;
	create role regress_reader;
	create role regress_stranger;
	grant regress_reader, regress_stranger to regress_pool;
	select encrypt.create_key('default');
	select encrypt.grant_key('default', 'regress_reader', 'encrypt', 'decrypt', 'search', 'deterministic');
	create table t as select encrypt.encrypt_column('plaintext') as value;
	grant select on t to public;
});

my @uses = (
	'select encrypt.decrypt_column(value) from t',
	q{select encrypt.encrypt_column('x') is not null},
	q{select encrypt.encrypt_deterministic('x') is not null},
	q{select encrypt.blind_index('x') is not null},
	q{select encrypt.blind_index_all('x') is not null},
	'select encrypt.reencrypt_column(value) is not null from t');

# One session, several roles. PREPARE keeps call sites, and what they remember, over the change of roles.
my $session = session($node, extra_params => [ '-U', 'regress_pool' ]);
my $n = 0;
$session->query_safe('prepare u' . ++$n . " as $_") for @uses;
$session->query_safe('set client_min_messages = error');
my @ways = (
	[ 'set role regress_reader',  'set role regress_stranger' ],
	[ 'set role regress_reader',  'reset role' ],
	[ 'set role regress_reader',  'reset all; set role none' ]);
for (@ways)
{
	my ($allowed, $forbidden) = @$_;
	for my $i (1 .. @uses)
	{
		# reencrypt_column of a value that is under the active version needs the grant as well.
		$session->query_safe($allowed);
		like($session->query_safe("execute u$i"), qr/^(t|plaintext)$/, "$allowed: $uses[$i - 1]");
		$session->query_safe($forbidden);
		is((session_error($session, "execute u$i"))[0], '42501', "$forbidden: $uses[$i - 1]");
		is((session_error($session, $uses[$i - 1]))[0], '42501', "$forbidden: the same anew");
	}
}
$session->query_safe('set role regress_reader');
is($session->query_safe($uses[0]), 'plaintext', 'readable before DISCARD');
$session->query_safe('reset role; discard all');
is((session_error($session, $uses[0]))[0], '42501', 'not readable after it');
$session->quit;

$session = session($node);
$session->query_safe($uses[0]);
$session->query_safe('set session authorization regress_stranger');
is((session_error($session, $uses[0]))[0], '42501', 'not readable after SET SESSION AUTHORIZATION');
$session->query_safe('reset session authorization');
is($session->query_safe($uses[0]), 'plaintext', 'readable after its RESET');
$session->query_safe('discard all');
is($session->query_safe($uses[0]), 'plaintext', 'and after DISCARD ALL');
$session->quit;

# Settings that a client can change for those after it hold no key, no role and no tenant.
is($node->safe_psql('postgres', q{
		load 'pg_encrypt';
		select string_agg(name, ' ' order by name) from pg_settings
		where name like 'pg\_encrypt.%' and context = 'user' and vartype = 'string'}),
	'', 'no setting of a session takes free text');

# Ends with the test, also one that fails half-way.
my $pooler;
END { kill 'TERM', $pooler if defined $pooler }

SKIP:
{
	my ($pgbouncer) = grep { -x } '/usr/sbin/pgbouncer', map { "$_/pgbouncer" } split /:/, $ENV{PATH};
	skip 'PgBouncer is not installed', 10 unless defined $pgbouncer;

	my $base = $node->basedir;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	append_to_file("$base/users", qq("regress_pool" ""\n));
	# One session of the server for all clients.
	append_to_file("$base/pgbouncer.ini", <<"INI");
[databases]
postgres = host=@{[ $node->host ]} port=@{[ $node->port ]} dbname=postgres pool_size=1
[pgbouncer]
listen_port = $port
unix_socket_dir = $base
auth_type = trust
auth_file = $base/users
pool_mode = transaction
logfile = $base/pgbouncer.log
pidfile = $base/pgbouncer.pid
INI
	system_or_bail($pgbouncer, '--daemon', '--quiet', "$base/pgbouncer.ini");
	# It goes to the background before it listens.
	for (1 .. 200) { last if -S "$base/.s.PGSQL.$port"; select undef, undef, undef, 0.05 }
	($pooler) = slurp_file("$base/pgbouncer.pid") =~ /(\d+)/;
	# The last -d counts.
	my @through = (extra_params => [ '-d', "host=$base port=$port user=regress_pool dbname=postgres" ]);

	my $first  = session($node, @through);
	my $second = session($node, @through);
	is(backend_pid($first), backend_pid($second), 'two clients share a session of the server');

	sub in_transaction
	{
		my ($role, $sql) = @_;
		return "begin; set local role $role; $sql; commit";
	}
	for my $use (@uses)
	{
		my $quiet = "set local client_min_messages = error; $use";
		like($first->query(in_transaction('regress_reader', $quiet)), qr/^(t|plaintext)$/, "the first client may: $use");
		$first->{stderr} = '';
		is((session_error($second, in_transaction('regress_stranger', $quiet)))[0], '42501', "the second may not: $use");
		$second->query('rollback');
		is((session_error($second, $use))[0], '42501', "nor without a role: $use");
	}
	$first->query_safe('begin; set local pg_encrypt.compress = on; commit');
	is($second->query_safe('show pg_encrypt.compress'), 'off', 'a setting of a transaction ends with it');
	$_->quit for $first, $second;
}
$node->stop;
done_testing();
