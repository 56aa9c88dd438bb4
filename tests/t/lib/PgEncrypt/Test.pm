package PgEncrypt::Test;

=head1 NAME

PgEncrypt::Test - nodes with the extension, for system tests

=head1 SYNOPSIS

  use PgEncrypt::Test;

  my $node = new_node('main');
  fails_with($node, 'select ...', '58030', 'a missing root key is an error');

=cut

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_node random_hex root_key_path write_root_key use_root_key sqlstate sql_error fails_with
  server_log_lacks);

=head1 FUNCTIONS

=head2 new_node(NAME, OPTION => VALUE...)

Returns a PostgreSQL::Test::Cluster with the extension in database C<postgres>. Options:

  root_key  => 0        leave pg_encrypt.root_key unset: the root key is made in the data directory.
                        Otherwise it is the file root_key_path(NODE), with a random key.
  conf      => TEXT     lines for postgresql.conf
  start     => 0        initialise only; the extension is not created either
  extension => 0        start without creating the extension
  init      => {...}    parameters of PostgreSQL::Test::Cluster->init, for example allows_streaming

=cut

sub new_node
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(%{ $options{init} // {} });
	# Many tests kill a server, and rely on what was committed before.
	$node->append_conf('postgresql.conf', 'synchronous_commit = on');
	if ($options{root_key} // 1)
	{
		write_root_key($node);
		$node->append_conf('postgresql.conf',
			"pg_encrypt.root_key = 'file:" . root_key_path($node) . "'");
	}
	$node->append_conf('postgresql.conf', $options{conf})
	  if defined $options{conf};

	return $node unless $options{start} // 1;
	$node->start;
	$node->safe_psql('postgres', 'create extension pg_encrypt')
	  if $options{extension} // 1;
	return $node;
}

=head2 random_hex(BYTES)

That many bytes from the operating system, as hexadecimal digits.

=cut

sub random_hex
{
	my ($length) = @_;

	open my $random, '<:raw', '/dev/urandom' or die "/dev/urandom: $!";
	read($random, my $bytes, $length) == $length or die "/dev/urandom: $!";
	return unpack 'H*', $bytes;
}

=head2 root_key_path(NODE)

The path of the node's root key file, outside its data directory.

=cut

sub root_key_path
{
	my ($node) = @_;
	return $node->basedir . '/root.key';
}

=head2 write_root_key(NODE, [KEY])

Writes the node's root key file, readable by its owner only. KEY: 64 hexadecimal digits, random if left out. Returns KEY.

=cut

sub write_root_key
{
	my ($node, $key) = @_;
	my $path = root_key_path($node);

	$key //= random_hex(32);
	# A file that exists keeps its mode: make it anew.
	unlink $path;
	my $umask = umask 0077;
	append_to_file($path, "$key\n");
	umask $umask;
	return $key;
}

=head2 use_root_key(NODE, LOCATION)

Sets pg_encrypt.root_key for every session to come; undef unsets it. Returns when the server has taken it over.

=cut

sub use_root_key
{
	my ($node, $location) = @_;
	my $change = defined $location ? "set pg_encrypt.root_key = '$location'" : 'reset pg_encrypt.root_key';

	# Before the library is loaded the setting is not known and can't be changed.
	$node->safe_psql('postgres', "load 'pg_encrypt'; alter system $change; select pg_reload_conf()");
	# The postmaster hands it to new sessions once it has handled the signal.
	$node->poll_query_until('postgres',
		q{select coalesce(current_setting('pg_encrypt.root_key', true), '')}, $location // '')
	  or die 'the server did not take over pg_encrypt.root_key';
	return;
}

=head2 sqlstate(TEXT)

The SQLSTATE in what psql said with VERBOSITY=verbose, or undef if that is no error.

=cut

sub sqlstate
{
	my ($said) = @_;
	my ($sqlstate) = $said =~ /^psql:[^\n]*(?:ERROR|FATAL|PANIC):  (\w{5}): /m;
	return $sqlstate;
}

=head2 sql_error(NODE, SQL, [dbname => NAME,] [PSQL PARAMETER => VALUE...])

Runs SQL, which should fail. Returns the SQLSTATE, or undef if it did not fail, and everything psql said about it.

=cut

sub sql_error
{
	my ($node, $sql, %parameters) = @_;
	my $dbname = delete $parameters{dbname} // 'postgres';
	my ($status, $stdout, $stderr) = $node->psql($dbname, $sql, %parameters,
		extra_params =>
		  [ '-v', 'VERBOSITY=verbose', @{ $parameters{extra_params} // [] } ]);

	return (sqlstate($stderr), $stderr);
}

=head2 fails_with(NODE, SQL, SQLSTATE, TEST NAME, [PARAMETER OF sql_error => VALUE...])

Passes if SQL fails with SQLSTATE. Returns what psql said, for tests of the message.

=cut

sub fails_with
{
	my ($node, $sql, $expected, $test_name, %parameters) = @_;
	my ($sqlstate, $said) = sql_error($node, $sql, %parameters);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($sqlstate, $expected, $test_name) or diag("psql said: $said");
	return $said;
}

=head2 server_log_lacks(NODE, STRING..., TEST NAME)

Passes if none of the strings is in the server's log: secrets and plaintexts don't belong there. Statements are not looked
at, for whoever writes a literal into a statement has it logged where statements are.

=cut

sub server_log_lacks
{
	my ($node, @strings) = @_;
	my $test_name = pop @strings;
	my $log = slurp_file($node->logfile);

	# Statements run over several lines, which begin with a tab.
	$log =~ s/^[^\n]*(?:LOG:  statement|STATEMENT): [^\n]*(?:\n\t[^\n]*)*//mg;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @found = grep { index($log, $_) >= 0 } @strings;
	is_deeply(\@found, [], $test_name);
	return;
}

1;
