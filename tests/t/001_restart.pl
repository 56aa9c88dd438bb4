# Values outlive restarts and crashes; without its root key the server fails and makes no new one.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $plaintext = 'alice@example.com';
my $read      = 'select encrypt.decrypt_column(email) from users';
my $token     = "select encrypt.blind_index('$plaintext')";
my $write     = "insert into users values (encrypt.encrypt_column('bob\@example.com'))";
my $keys = 'select string_agg(key_id::text, \',\' order by key_id) from encrypt.keys';

# Values, tokens and keys of a node, as its sessions see them.
sub fill
{
	my ($node) = @_;
	$node->safe_psql('postgres', q{
		select encrypt.create_key('default');
		create table users (email encrypt.ciphertext);
		insert into users values (encrypt.encrypt_column('alice@example.com'));
	});
	return ($node->safe_psql('postgres', $token), $node->safe_psql('postgres', $keys));
}

sub still_readable
{
	my ($node, $old_token, $old_keys, $when) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($node->safe_psql('postgres', $read),  $plaintext, "value is readable $when");
	is($node->safe_psql('postgres', $token), $old_token, "token is the same $when");
	is($node->safe_psql('postgres', $keys),  $old_keys,  "keys are the same $when");
	return;
}

# Nothing works that needs the root key, and nothing takes its place.
sub unusable
{
	my ($node, $old_keys, $when) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	fails_with($node, $read,  '58030', "decrypting fails $when");
	fails_with($node, $write, '58030', "encrypting fails $when");
	fails_with($node, $token, '58030', "searching fails $when");
	is($node->safe_psql('postgres', $keys), $old_keys, "keys are the same $when");
	is($node->safe_psql('postgres', 'select count(*) from users'), 1, "nothing was written $when");
	return;
}

# A root key outside of the data directory.
my $node = new_node('external');
my $root = slurp_file(root_key_path($node));
my ($old_token, $old_keys) = fill($node);
chomp $root;

$node->restart;
still_readable($node, $old_token, $old_keys, 'after a restart');
$node->stop('immediate');
$node->start;
still_readable($node, $old_token, $old_keys, 'after a crash');

my $wrong = write_root_key($node);
isnt($wrong, $root, 'the wrong root key is another one');
$node->restart;
unusable($node, $old_keys, 'with the wrong root key');
is(slurp_file(root_key_path($node)), "$wrong\n", 'the wrong root key was left alone');

unlink root_key_path($node) or die "root key: $!";
$node->restart;
unusable($node, $old_keys, 'without the root key');
fails_with($node, "select encrypt.create_key('second')", '58030', 'no key is made without the root key');
ok(!-e root_key_path($node), 'no root key was made');

write_root_key($node, $root);
still_readable($node, $old_token, $old_keys, 'when the root key is back, without a restart');
server_log_lacks($node, $root, $wrong, $plaintext, 'neither root keys nor values are in the log');
$node->stop;

# A root key that the first create_key made in the data directory.
$node = new_node('embedded', root_key => 0);
my $path = $node->data_dir . '/pg_encrypt_root.key';
ok(!-e $path, 'no root key before the first key');
($old_token, $old_keys) = fill($node);
is(sprintf('%04o', (stat $path)[2] & 07777), '0600', 'the root key is for the server only');
like(slurp_file($node->logfile), qr/WARNING: .*root key/, 'making it gave a warning');

$node->restart;
still_readable($node, $old_token, $old_keys, 'after a restart');

rename $path, "$path.away" or die "root key: $!";
$node->restart;
unusable($node, $old_keys, 'without the root key in the data directory');
fails_with($node, "select encrypt.create_key('second')", '58030',
	'no key is made without the root key in the data directory');
ok(!-e $path, 'no root key was made in the data directory');

rename "$path.away", $path or die "root key: $!";
still_readable($node, $old_token, $old_keys, 'when the root key is back in the data directory');
$node->stop;

done_testing();
