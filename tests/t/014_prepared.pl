# A prepared transaction may have encrypted under a version of a key that was rotated since, and nobody can see its rows:
# until it ends the version can't be retired, and the error names it.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('prepared');
my $old  = $node->safe_psql('postgres', q{
	create table t (value encrypt.ciphertext);
	select encrypt.create_key('default');
});
my $state = "select state from encrypt.keys where key_id = $old";

$node->safe_psql('postgres', q{
	begin;
	insert into t values (encrypt.encrypt_column('in doubt'));
	prepare transaction 'it''s in doubt';
});
$node->safe_psql('postgres', q{select encrypt.rotate_key('default')});

my $retire = "select encrypt.retire_key($old)";
my $said   = fails_with($node, $retire, '55000', 'a prepared transaction is in the way of retirement');
like($said, qr/prepared transaction "it's in doubt" may have used it/, 'the error names it');
like($said, qr/HINT:  Run: commit prepared 'it''s in doubt'; or: rollback prepared 'it''s in doubt';/,
	'the hint can be pasted');
is($node->safe_psql('postgres', $state), 'rotating', 'the state of the key is what it was');

$node->restart;
fails_with($node, $retire, '55000', 'after a restart too');

# One of another database can't have used the key.
$node->safe_psql('postgres', 'create database other');
$node->safe_psql('other', q{begin; create table t (); prepare transaction 'elsewhere'});

$node->safe_psql('postgres', q{commit prepared 'it''s in doubt'});
is($node->safe_psql('postgres', "select encrypt.decrypt_column(value), encrypt.key_id(value) = $old from t"),
	'in doubt|t', 'its value is under the old version');
$node->safe_psql('postgres', 'update t set value = encrypt.reencrypt_column(value)');
$node->safe_psql('postgres', $retire);
is($node->safe_psql('postgres', $state), 'retired', 'without it the version retires');
is($node->safe_psql('postgres', 'select encrypt.decrypt_column(value) from t'), 'in doubt', 'and the value is readable');
$node->safe_psql('other', q{rollback prepared 'elsewhere'});

# Keys that a prepared transaction makes are nobody's until it commits.
$node->safe_psql('postgres', q{
	begin;
	select encrypt.create_key('second');
	insert into t values (encrypt.encrypt_column('second', 'second'));
	prepare transaction 'new key';
});
fails_with($node, q{select encrypt.encrypt_column('x', 'second')}, '42704', 'a key that is not committed is not found');
$node->safe_psql('postgres', q{commit prepared 'new key'});
is($node->safe_psql('postgres', 'select encrypt.decrypt_column(value) from t offset 1'), 'second', 'until it is');
$node->stop;
done_testing();
