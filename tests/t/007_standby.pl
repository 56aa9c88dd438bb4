# A streaming standby decrypts, searches and encrypts in queries, although it can neither write nor assign transaction
# ids; it refuses to change keys, follows what the primary does to keys and grants, and becomes a primary itself.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Session;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_node('primary', init => { allows_streaming => 1 });
$primary->safe_psql('postgres', q{
	create role regress_reader login;
	select encrypt.create_key('default');
	select encrypt.grant_key('default', 'regress_reader', 'decrypt');
	create table users (email encrypt.ciphertext, email_index bytea);
	grant select on users to regress_reader;
	insert into users
	select encrypt.encrypt_column(email), encrypt.blind_index(email)
	from (select format('user%s@example.com', i) as email from generate_series(1, 100) i) e;
	create index on users (email_index);
});
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

sub catch_up
{
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
	return;
}

my $search = q{select encrypt.decrypt_column(email) from users
	where email_index = any (encrypt.blind_index_all('USER7@example.com'))};
catch_up();
is($standby->safe_psql('postgres', 'select pg_is_in_recovery()'), 't', 'the standby is one');
is($standby->safe_psql('postgres', 'select count(distinct encrypt.decrypt_column(email)) from users'),
	100, 'it decrypts');
is($standby->safe_psql('postgres', $search), 'user7@example.com', 'it searches');

my $sealed = $standby->safe_psql('postgres', q{select encrypt.encrypt_column('from the standby')});
is($primary->safe_psql('postgres', "select encrypt.decrypt_column('$sealed')"),
	'from the standby', 'it encrypts in a query, and the primary reads it');
is($standby->safe_psql('postgres', q{
		select count(distinct encrypt.key_id(encrypt.encrypt_column(i::text))) from generate_series(1, 1000) i}),
	1, 'it encrypts many values');

my ($column_key, $index_key) = split /\n/,
  $primary->safe_psql('postgres', 'select key_id from encrypt.keys order by purpose');
for my $call (
	q{create_key('second')}, q{rotate_key('default')}, q{rotate_key('default', 'index')},
	"activate_key($column_key)", "retire_key($column_key)", "destroy_key($column_key, 'default')",
	q{grant_key('default', 'regress_reader', 'encrypt')}, q{revoke_key('default', 'regress_reader', 'decrypt')})
{
	my ($sqlstate, $said) = sql_error($standby, "select encrypt.$call");
	# The state of the key may speak against it before anything is written.
	ok(defined $sqlstate && $sqlstate =~ /^(25006|55000)$/, "refused: $call") or diag($said);
}
fails_with($standby, q{select encrypt.create_key('second')}, '25006', 'making a key is a read-only error');

# Sessions that are open on the standby see what changes on the primary.
my $session = session($standby);
my $reader  = session($standby, extra_params => [ '-U', 'regress_reader' ]);
my $count   = 'select count(encrypt.decrypt_column(email)) from users';
my $key_id  = q{select encrypt.key_id(encrypt.encrypt_column('x'))};
my $tokens  = q{select cardinality(encrypt.blind_index_all('x'))};
is($session->query_safe($key_id), $column_key, 'the first version of the key is in use');
is($session->query_safe($tokens), 1,           'and there is one index key');
is($reader->query_safe($count),   100,         'the reader reads');

my $rotated = $primary->safe_psql('postgres', q{select encrypt.rotate_key('default')});
$primary->safe_psql('postgres', q{
	select encrypt.rotate_key('default', 'index');
	insert into users
	select encrypt.encrypt_column('user101@example.com'), encrypt.blind_index('user101@example.com');
});
catch_up();
is($session->query_safe($key_id), $rotated, 'a rotation is seen in an open session');
is($session->query_safe($tokens), 2,        'that of the index key too');
is($session->query_safe($search), 'user7@example.com', 'old tokens are found');
is($session->query_safe(q{
		select count(*) from users where email_index = any (encrypt.blind_index_all('user101@example.com'))}),
	1, 'new ones too');
is($reader->query_safe($count), 101, 'values under both versions are read');

$primary->safe_psql('postgres', q{select encrypt.revoke_key('default', 'regress_reader', 'decrypt')});
catch_up();
my ($sqlstate) = session_error($reader, $count);
is($sqlstate, '42501', 'a revoked grant is seen in an open session');
$_->quit for $session, $reader;

# The root key is no part of what is replicated.
use_root_key($primary, 'file:' . root_key_path($primary));
$standby->adjust_conf('postgresql.conf', 'pg_encrypt.root_key', "'file:" . root_key_path($standby) . "'");
$standby->adjust_conf('postgresql.auto.conf', 'pg_encrypt.root_key', undef);
$standby->restart;
is($standby->safe_psql('postgres', 'select count(*) from users'), 101, 'a standby without the root key replicates');
fails_with($standby, $count, '58030', 'but does not decrypt');
write_root_key($standby, slurp_file(root_key_path($primary)) =~ /(\w+)/);
is($standby->safe_psql('postgres', $count), 101, 'until it gets the root key');

$primary->stop;
$standby->promote;
my $created = $standby->safe_psql('postgres', q{select encrypt.create_key('second')});
like($created, qr/^\d+$/, 'once promoted it makes keys');
is($standby->safe_psql('postgres', q{select encrypt.decrypt_column(encrypt.encrypt_column('x', 'second'))}),
	'x', 'and uses them');
$standby->stop;
done_testing();
