# Where the root key can come from, and what happens when it does not come: an error that says why, and no change of
# anything, least of all a new key.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Session;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX qw(mkfifo);
use Test::More;

my %root = map { $_ => random_hex(32) } qw(file raw command env);
my $passphrase = random_hex(20);

$ENV{PG_ENCRYPT_TEST_ROOT} = $root{env};
my $node     = new_node('locations', root_key => 0);
my $base     = $node->basedir;
my $embedded = $node->data_dir . '/pg_encrypt_root.key';

# Writes a file that only its owner may touch; MODE adds to that.
sub write_file
{
	my ($path, $content, $mode) = @_;
	unlink $path;
	append_to_file($path, $content);
	chmod $mode // 0600, $path or die "$path: $!";
	return $path;
}

sub all_keys
{
	return $node->safe_psql('postgres', 'select k from encrypt.keys k order by key_id');
}

sub data_directory
{
	return join "\n", sort(glob($node->data_dir . '/*'));
}

write_file("$base/printed.key", "$root{command}\n");

# In the order of use: a root key in the data directory is made for a first key only.
my @locations = (
	[ embedded => undef ],
	[ file     => 'file:' . write_file("$base/hex.key", "$root{file}\n") ],
	[ raw      => 'file:' . write_file("$base/raw.key", pack('H*', $root{raw})) ],
	[ command  => 'command:' . write_file("$base/print-key", "#!/bin/sh\nexec /bin/cat \"\$1\"\n", 0700) . " $base/printed.key" ],
	[ env      => 'env:PG_ENCRYPT_TEST_ROOT' ],
	[ passphrase => 'passphrase-file:' . write_file("$base/passphrase", "$passphrase\n") ]);

$node->safe_psql('postgres', 'create table t (name text, value encrypt.ciphertext)');
for (@locations)
{
	my ($name, $location) = @$_;
	use_root_key($node, $location) if defined $location;
	$node->safe_psql('postgres', "select encrypt.create_key('$name')");
	$node->safe_psql('postgres', "insert into t values ('$name', encrypt.encrypt_column('value of $name', '$name'))");
}
$root{embedded} = slurp_file($embedded);
chomp $root{embedded};

is($node->safe_psql('postgres', 'select count(distinct root_id) from encrypt.keys'),
	scalar @locations, 'every location has a root key of its own');

$node->restart;
for (@locations)
{
	my ($name, $location) = @$_;
	use_root_key($node, $location);
	is($node->safe_psql('postgres', "select encrypt.decrypt_column(value) from t where name = '$name'"),
		"value of $name", "$name: values are readable after a restart");
	for my $other (grep { $_ ne $name } map { $_->[0] } @locations)
	{
		my $said = fails_with($node, "select encrypt.decrypt_column(value) from t where name = '$other'",
			'58030', "$name: values of $other are not readable");
		like($said, qr/key with id \d+ is wrapped by root key \w{16}, but root key \w{16} is configured/,
			"$name: the error tells which root key is missing");
	}
}

# What can be wrong with each of them, with keys in the table.
mkfifo("$base/fifo.key", 0600) or die "fifo: $!";
symlink("$base/hex.key", "$base/link.key") or die "link: $!";
mkdir "$base/directory.key" or die "directory: $!";
my @broken = (
	[ "file:$base/missing.key",                                                qr/does not exist/ ],
	[ "file:$base/link.key",                                                   qr/is a symbolic link/ ],
	[ "file:$base/fifo.key",                                                   qr/is not a regular file/ ],
	[ "file:$base/directory.key",                                              qr/is a directory/ ],
	[ 'file:' . write_file("$base/empty.key", ''),                             qr/is empty/ ],
	[ 'file:' . write_file("$base/open.key", "$root{file}\n", 0644),           qr/group or world access .*chmod 0600/s ],
	[ 'file:' . write_file("$base/group.key", "$root{file}\n", 0640),          qr/group or world access/ ],
	[ 'file:' . write_file("$base/short.key", substr($root{file}, 2)),         qr/neither 32 raw bytes nor 64 hex/ ],
	[ 'file:' . write_file("$base/long.key", 'a' x 5000),                      qr/wrong size of 5000 bytes/ ],
	[ 'file:' . write_file("$base/zero.key", "\0" x 32),                       qr/one byte repeated/ ],
	[ "command:$base/missing",                                                 qr/does not exist/ ],
	[ 'command:' . write_file("$base/fail", "#!/bin/sh\necho $root{file}; exit 3\n", 0700), qr/exited with status 3/ ],
	[ 'command:' . write_file("$base/loud", "#!/bin/sh\nyes $root{file}\n", 0700), qr/more than 4096 bytes/ ],
	[ 'command:' . write_file("$base/mute", "#!/bin/sh\n", 0700),              qr/its output is empty/ ],
	[ 'command:' . write_file("$base/shared", "#!/bin/sh\necho $root{file}\n", 0777), qr/writable by group or world/ ],
	[ 'command:' . write_file("$base/plain", "#!/bin/sh\necho $root{file}\n"), qr/is not executable/ ],
	[ 'env:PG_ENCRYPT_TEST_UNSET',                                             qr/is not set in the server's environment/ ],
	[ 'passphrase-file:' . write_file("$base/guess", "secret\n"),              qr/passphrase of less than/ ],
	[ "passphrase-file:$base/missing",                                         qr/does not exist/ ]);

my @statements = (
	q{select encrypt.decrypt_column(value) from t where name = 'file'},
	q{insert into t values ('new', encrypt.encrypt_column('x', 'file'))},
	q{select encrypt.blind_index('x', 'file')},
	q{select encrypt.create_key('another')},
	q{select encrypt.rotate_key('file')});

my $keys    = all_keys();
my $listing = data_directory();
for (@broken)
{
	my ($location, $why) = @$_;
	my ($short) = $location =~ m{([^:]+:[^:/]*)$} ? $1 : $location =~ m{^([^:]+:).*/(.*)$} ? "$1$2" : $location;
	use_root_key($node, $location);
	# One session for all statements, so that a failure is seen to leave nothing behind in it either.
	my $fresh = session($node);
	my @seen  = map { [ session_error($fresh, $_) ] } @statements;
	$fresh->quit;
	is(join(' ', map { $_->[0] // 'none' } @seen), join(' ', ('58030') x @statements), "$short: every use is an error");
	is(scalar(grep { $_->[1] =~ $why } @seen), scalar @statements, "$short: and says why")
	  or diag(map { $_->[1] } @seen);
	is(scalar(grep { my $said = $_->[1]; grep { $said =~ /$_/i } values %root, $passphrase } @seen),
		0, "$short: without a secret");
}
is(all_keys(),       $keys,    'no key was made or changed');
is(data_directory(), $listing, 'no file was made in the data directory');
is($node->safe_psql('postgres', 'select count(*) from t'), scalar @locations, 'nothing was written');

# The parameters of a passphrase are part of the key.
use_root_key($node, "passphrase-file:$base/passphrase");
my $parameters = $node->safe_psql('postgres', 'select parameters from encrypt.root_parameters');
$node->safe_psql('postgres', 'delete from encrypt.root_parameters');
fails_with($node, q{select encrypt.decrypt_column(value) from t where name = 'passphrase'},
	'58030', 'a passphrase without its stored salt is an error');
is($node->safe_psql('postgres', 'select count(*) from encrypt.root_parameters'), 0, 'and no new salt is made');

# Without the setting: the file in the data directory is missed, not replaced.
use_root_key($node, undef);
rename $embedded, "$embedded.away" or die "$embedded: $!";
fails_with($node, $_, '58030', "no root key in the data directory: $_") for @statements;
ok(!-e $embedded, 'no root key was made in the data directory');
is(all_keys(), $keys, 'no key was made or changed');

server_log_lacks($node, values %root, $passphrase, 'no secret is in the log');
$node->stop;
done_testing();
