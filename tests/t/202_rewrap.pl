# Another root key: whatever happens in the middle, every key is readable under one of the two, and a session that lacks the
# right one says which it needs.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Session;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('rewrap');
my $base = $node->basedir;
my $old  = 'file:' . root_key_path($node);
my %file = (new => random_hex(32), other => random_hex(32), passphrase => random_hex(10));
for my $name (sort keys %file)
{
	my $umask = umask 0077;
	append_to_file("$base/$name", "$file{$name}\n");
	umask $umask;
}
my $new = "file:$base/new";

$node->safe_psql('postgres', q{
	create role regress_admin login;
	grant execute on function encrypt.rewrap_keys to regress_admin;
	select encrypt.create_key(name) from unnest(array['one', 'two']) name;
	select encrypt.rotate_key('one');
	create table t as select name, encrypt.encrypt_column('value of ' || name, name) as e from unnest(array['one', 'two']) name;
	grant select on t to regress_admin;
	select encrypt.grant_key('one', 'regress_admin', 'decrypt');
	select encrypt.create_key('gone'), encrypt.rotate_key('gone');
	select encrypt.retire_key(key_id) from encrypt.keys where name = 'gone' and purpose = 'column' and version = 1;
	select encrypt.destroy_key(key_id, 'gone') from encrypt.keys where name = 'gone' and state = 'retired';
});
my $read  = q{select string_agg(encrypt.decrypt_column(e), ', ' order by name) from t};
my $is    = 'value of one, value of two';
my $roots = q{select count(*), count(distinct root_id) from encrypt.keys where wrapped_key is not null};
is($node->safe_psql('postgres', $roots), '7|1', 'all keys are under one root key');
my $before = $node->safe_psql('postgres', 'select k from encrypt.keys k order by key_id');

# Who may not, and what is not there.
my @as_admin = (extra_params => [ '-U', 'regress_admin' ]);
like(fails_with($node, "select encrypt.rewrap_keys('$new')", '42501', 'only superusers may name a location', @as_admin),
	qr/only superusers/, 'the error says who may');
is($node->safe_psql('postgres', 'select encrypt.rewrap_keys()', @as_admin), 0, 'nothing to do under the configured root key');
fails_with($node, "select encrypt.rewrap_keys('file:$base/missing')", '58030', 'no root key there');
fails_with($node, "select encrypt.rewrap_keys('nowhere')", '22023', 'no location');
like(fails_with($node, "select encrypt.rewrap_keys('$new', 'file:$base/other')", '58030', 'another root key than the keys have'),
	qr/key with id \d+ is wrapped by root key \w{16}, not by root key \w{16}/, 'the error names both root keys');
is($node->safe_psql('postgres', 'select k from encrypt.keys k order by key_id'), $before, 'nothing was changed by errors');
is($node->safe_psql('postgres', "begin; select encrypt.rewrap_keys('$new'); rollback"), 7, 'rolled back');
is($node->safe_psql('postgres', 'select k from encrypt.keys k order by key_id'), $before, 'nothing is left of a rollback');

# A crash in the middle.
my $session = session($node);
$session->query_safe('begin');
is($session->query_safe("select encrypt.rewrap_keys('$new')"), 7, 'rewrapped and not committed');
$node->safe_psql('postgres', 'checkpoint');
$node->stop('immediate');
eval { $session->quit };
$node->start;
is($node->safe_psql('postgres', 'select k from encrypt.keys k order by key_id'), $before, 'after a crash keys are as before');
is($node->safe_psql('postgres', $read), $is, 'after a crash values are read under the old root key');

# While others use keys: a session that has them goes on, one that comes between the two steps says what it needs.
my $cached = session($node);
is($cached->query_safe($read), $is, 'a session has its keys');
is($node->safe_psql('postgres', "select encrypt.rewrap_keys('$new')"), 7, 'rewrapped');
is($node->safe_psql('postgres', $roots), '7|1', 'all keys are under the new root key');
is($cached->query_safe($read), $is, 'the session with cached keys reads on');
my $said = fails_with($node, $read, '58030', 'a new session lacks the root key');
like($said, qr/key with id \d+ is wrapped by root key \w{16}, but root key \w{16} is configured/, 'it names both');
like($said, qr/Set pg_encrypt\.root_key/, 'and says what to do');
# A version that is made between the steps is under the old root key, and is brought along afterwards.
$node->safe_psql('postgres', q{select encrypt.create_key('between')});
use_root_key($node, $new);
is($node->safe_psql('postgres', $read), $is, 'values are read under the new root key');
is($cached->query_safe($read), $is, 'the session with cached keys reads on');
fails_with($node, q{select encrypt.encrypt_column('x', 'between')}, '58030', 'a version was left under the old root key');
is($node->safe_psql('postgres', "select encrypt.rewrap_keys(old_root => '$old')"), 2, 'what was left is brought along');
unlink root_key_path($node);
$node->restart;
is($node->safe_psql('postgres', $read), $is, 'the old root key is not needed any more');
is($node->safe_psql('postgres', q{select encrypt.decrypt_column(encrypt.encrypt_column('x', 'between'), '')}), 'x',
	'nor for what was brought along');
is($node->safe_psql('postgres', "select encrypt.rewrap_keys(old_root => '$old')"), 0, 'nothing left: the old root key may be gone');

# To a passphrase, whose parameters are made.
is($node->safe_psql('postgres', "select encrypt.rewrap_keys('passphrase-file:$base/passphrase')"), 9, 'rewrapped by a passphrase');
use_root_key($node, "passphrase-file:$base/passphrase");
is($node->safe_psql('postgres', $read), $is, 'values are read under the passphrase');
is($node->safe_psql('postgres', q{select state, destroyed_at is not null from encrypt.keys
		where name = 'gone' and purpose = 'column' and version = 1}), 'retired|t', 'a destroyed key stays destroyed');
server_log_lacks($node, values %file, 'no root key is in the log');
$node->stop;
done_testing();
